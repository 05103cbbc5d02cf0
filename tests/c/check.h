/* Shared by the tests of the core: checks that count and print what failed, random numbers, numbers of
 * either dtype, levels of the machine, and memory between two pages that nobody may touch. A test is a
 * program of one file linked with the core; it ends with check_report(), 0 when nothing failed. */
#ifndef CHECK_H
#define CHECK_H

#define _GNU_SOURCE
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_os.h"
#include "fastbp.h"
#include "kernels/kernels.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHECK_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CHECK_SANITIZED 1
#endif
#endif

/* Tests ask for memory that nobody has; that is an answer, not an accident. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

enum { CHECK_SHOWN = 25 };
static atomic_int check_failures;

/* CHECK(condition, format, values...) */
#define CHECK(condition, ...)                                                    \
    do {                                                                         \
        if (!(condition) && atomic_fetch_add(&check_failures, 1) < CHECK_SHOWN) { \
            printf("%s:%d: not %s: ", __FILE__, __LINE__, #condition);           \
            printf(__VA_ARGS__);                                                 \
            printf("\n");                                                        \
        }                                                                        \
    } while (0)

static inline int check_report(const char *name) {
    int failures = atomic_load(&check_failures);
    if (failures)
        printf("%s: %d checks failed\n", name, failures);
    else
        printf("%s: ok\n", name);
    return failures != 0;
}

/* CHECK_SHARE=8 in the environment: of the many problems of one kind an eighth will do, as in an emulator. */
static inline int check_share(void) {
    const char *share = getenv("CHECK_SHARE");
    return share && atoi(share) > 1 ? atoi(share) : 1;
}

/* What is being tested, told when a forbidden page is touched. */
static char check_where[128];

static inline void check_fault(int number) {
    (void)number;
    const char text[] = "a forbidden page was touched: ";
    if (write(1, text, sizeof text - 1) < 0 || write(1, check_where, strlen(check_where)) < 0 || write(1, "\n", 1) < 0)
        _exit(4);
    _exit(3);
}

/* ---- random numbers (splitmix64) ---------------------------------------------------------------- */

static uint64_t random_state = 1;

static inline uint64_t random_bits(void) {
    uint64_t x = random_state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Does dropout take the number in this row of the matrix and this column? 32 bits from two rounds of xor-shift and
 * multiply, with half of a 64-bit number of the row in each. */
static inline int exact_dropped(const fbp_drop *drop, int64_t row, int column) {
    uint64_t r = drop->key + (uint64_t)(drop->row + row) * 0x9e3779b97f4a7c15u;
    r = (r ^ (r >> 30)) * 0xbf58476d1ce4e5b9u;
    r = (r ^ (r >> 27)) * 0x94d049bb133111ebu;
    r ^= r >> 31;
    uint32_t x = (uint32_t)column * 0x9e3779b1u + (uint32_t)(r & 0xffffffffu);
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15) ^ (uint32_t)(r >> 32)) * 0xd35a2d97u;
    return (x ^ (x >> 15)) < drop->below;
}

static inline fbp_drop random_drop(double share) {
    return (fbp_drop){.key = random_bits(),
                      .row = (int64_t)(random_bits() >> 20),
                      .below = (uint32_t)(share * 0x1p32),
                      .scale = 1 / (1 - share)};
}

static inline int64_t random_below(int64_t n) { return (int64_t)(random_bits() % (uint64_t)n); }

static inline double random_between(double low, double high) {
    return low + (high - low) * (double)(random_bits() >> 11) * 0x1p-53;
}

/* ---- numbers of either dtype -------------------------------------------------------------------- */

static inline size_t item_of(fbp_dtype dtype) { return dtype == FBP_F32 ? sizeof(float) : sizeof(double); }
static inline double epsilon_of(fbp_dtype dtype) { return dtype == FBP_F32 ? FLT_EPSILON : DBL_EPSILON; }
static inline const char *dtype_name(fbp_dtype dtype) { return dtype == FBP_F32 ? "float" : "double"; }

static inline double get(const void *a, int64_t i, fbp_dtype dtype) {
    return dtype == FBP_F32 ? (double)((const float *)a)[i] : ((const double *)a)[i];
}
static inline void put(void *a, int64_t i, double x, fbp_dtype dtype) {
    if (dtype == FBP_F32)
        ((float *)a)[i] = (float)x;
    else
        ((double *)a)[i] = x;
}
static inline double smallest_normal(fbp_dtype dtype) { return dtype == FBP_F32 ? FLT_MIN : DBL_MIN; }
static inline double largest(fbp_dtype dtype) { return dtype == FBP_F32 ? FLT_MAX : DBL_MAX; }
static inline double rounded(double x, fbp_dtype dtype) { return dtype == FBP_F32 ? (double)(float)x : x; }

static inline void fill(void *a, int64_t count, double x, fbp_dtype dtype) {
    for (int64_t i = 0; i < count; i++) put(a, i, x, dtype);
}
static inline void fill_random(void *a, int64_t count, double low, double high, fbp_dtype dtype) {
    for (int64_t i = 0; i < count; i++) put(a, i, random_between(low, high), dtype);
}

/* The same kind of number: both finite, both NaN, or the same infinity. */
static inline int same_kind(double a, double b) { return isnan(a) ? isnan(b) : isinf(a) ? a == b : isfinite(b); }

/* The same numbers to the bit; which NaN a NaN is may differ. */
static inline int same_bits(const void *a, const void *b, int64_t count, fbp_dtype dtype) {
    size_t item = item_of(dtype);
    for (int64_t i = 0; i < count; i++)
        if (memcmp((const char *)a + (size_t)i * item, (const char *)b + (size_t)i * item, item) &&
            !(isnan(get(a, i, dtype)) && isnan(get(b, i, dtype))))
            return 0;
    return 1;
}

/* Sizes around the widths of vectors, and where blocks of 64 end. */
static const int CHECK_SIZES[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  13, 15, 16,
                                  17, 27, 31, 32, 33, 47, 49, 63, 64, 65, 67, 130};
enum { CHECK_N_SIZES = sizeof CHECK_SIZES / sizeof *CHECK_SIZES, CHECK_LARGEST = 130 };

/* ---- levels: run a test with every kernel table of the machine ------------------------------------ */

static inline void use_level(const char *const *names, int level, const char *always) {
    char list[128] = "";
    if (always) snprintf(list, sizeof list, "%s", always);
    for (int i = 0; i < level; i++) {
        size_t length = strlen(list);
        snprintf(list + length, sizeof list - length, ",%s", names[i]);
    }
    setenv("FASTBP_DISABLE_CPU", list, 1);
}

/* f(z) and f'(z) by the C library, in long double and without cancellation; at -infinity the limits */
#define SELU_SCALE 1.0507009873554804934193349852946L
#define SELU_ALPHA 1.6732632423543772848170429916717L
static inline long double exact_logistic(long double z) { return 1 / (1 + expl(-z)); }
static inline long double exact_softplus(long double z) { return log1pl(expl(-fabsl(z))) + (z < 0 ? 0 : z); }
static inline long double exact_normal(long double z) { return 0.5L * erfcl(-z * sqrtl(0.5L)); }

static inline long double exact_act(fbp_activation act, long double z) {
    int ends = act == FBP_ACT_gelu || act == FBP_ACT_silu || act == FBP_ACT_mish;
    if (ends && fabsl(z) > 2000) return z < 0 ? 0 : z;
    switch (act) {
    case FBP_ACT_logistic: return exact_logistic(z);
    case FBP_ACT_tanh: return tanhl(z);
    case FBP_ACT_relu: return z < 0 ? 0 : z;
    case FBP_ACT_leaky_relu: return z > 0 ? z : 0.01L * z;
    case FBP_ACT_elu: return z > 0 ? z : expm1l(z);
    case FBP_ACT_selu: return SELU_SCALE * (z > 0 ? z : SELU_ALPHA * expm1l(z));
    case FBP_ACT_gelu: return z * exact_normal(z);
    case FBP_ACT_silu: return z * exact_logistic(z);
    case FBP_ACT_mish: return z * tanhl(exact_softplus(z));
    case FBP_ACT_softplus: return exact_softplus(z);
    default: return z;
    }
}

static inline long double exact_slope(fbp_activation act, long double z) {
    long double a = exact_act(act, z), s = exact_logistic(z), t = tanhl(exact_softplus(z));
    int ends = act == FBP_ACT_gelu || act == FBP_ACT_silu || act == FBP_ACT_mish;
    if (ends && fabsl(z) > 2000) return z < 0 ? 0 : 1;
    switch (act) {
    case FBP_ACT_logistic: return a * (1 - a);
    case FBP_ACT_tanh: return 1 - a * a;
    case FBP_ACT_relu: return z <= 0 ? 0 : 1;
    case FBP_ACT_leaky_relu: return z > 0 ? 1 : 0.01L;
    case FBP_ACT_elu: return z > 0 ? 1 : expl(z);
    case FBP_ACT_selu: return SELU_SCALE * (z > 0 ? 1 : SELU_ALPHA * expl(z));
    case FBP_ACT_gelu: return exact_normal(z) + z * expl(-0.5L * z * z) / sqrtl(2 * acosl(-1));
    case FBP_ACT_silu: return s * (1 + z * exact_logistic(-z));
    case FBP_ACT_mish: return t + z * s * (1 - t) * (1 + t);
    case FBP_ACT_softplus: return s;
    default: return 1;
    }
}

/* Calls test(dtype, its kernels) for both dtypes at every level that the environment leaves. */
static inline void at_every_level(void (*test)(fbp_dtype dtype, const fbp_kernels *kernels)) {
    const char *names[4], *given = getenv("FASTBP_DISABLE_CPU");
    char *always = given ? strdup(given) : NULL;
    int n = fbp_cpu_levels(names);
    for (int level = 0; level < n; level++) {
        use_level(names, level, always);
        for (fbp_dtype dtype = FBP_F32; dtype <= FBP_F64; dtype++) {
            const fbp_kernels *kernels = fbp_kernels_of(dtype);
            snprintf(check_where, sizeof check_where, "%s %s", kernels->isa, dtype_name(dtype));
            CHECK(strcmp(kernels->isa, names[level]) == 0, "%s instead of %s", kernels->isa, names[level]);
            test(dtype, kernels);
        }
    }
    if (always)
        setenv("FASTBP_DISABLE_CPU", always, 1);
    else
        unsetenv("FASTBP_DISABLE_CPU");
    free(always);
}

/* ---- memory between two forbidden pages ----------------------------------------------------------- */

typedef struct {
    char *low, *high; /* low..high may be touched */
} guarded;

static inline guarded guarded_new(size_t bytes) {
    size_t page = page_size(), size = (bytes + page - 1) / page * page;
    char *block = new_pages(size, page);
    if (!block) {
        printf("no memory for a test\n");
        exit(1);
    }
#ifndef CHECK_SANITIZED
    signal(SIGSEGV, check_fault);
#ifdef SIGBUS
    signal(SIGBUS, check_fault);
#endif
#endif
    return (guarded){block, block + size};
}

static inline void guarded_free(guarded g) { free_pages(g.low, (size_t)(g.high - g.low), page_size()); }

/* count items that end where the forbidden page begins, all NaN */
static inline void *at_end(guarded g, int64_t count, fbp_dtype dtype) {
    size_t bytes = (size_t)count * item_of(dtype);
    if (bytes > (size_t)(g.high - g.low)) {
        printf("a guarded block is too small for a test\n");
        exit(1);
    }
    return memset(g.high - bytes, 0xff, bytes);
}

/* count items that begin `skip` items behind the forbidden page, all NaN */
static inline void *at_start(guarded g, int64_t count, int skip, fbp_dtype dtype) {
    size_t bytes = (size_t)(count + skip) * item_of(dtype);
    if (bytes > (size_t)(g.high - g.low)) {
        printf("a guarded block is too small for a test\n");
        exit(1);
    }
    memset(g.low, 0xff, bytes);
    return g.low + (size_t)skip * item_of(dtype);
}

#endif
