/* Times the three products of a dense layer, one thread, beside the machine's peak of multiply-adds:
 * packed and blas as a training step calls them (with f, f' and bias), and the bare gemm of the same shape.
 *
 *     products BLAS SGEMM DGEMM DTYPE SECONDS in,out,n ...
 *
 * BLAS is the path of a shared library, SGEMM and DGEMM the names of its functions (32-bit integers).
 * All samples of a shape are interleaved. Prints JSON: medians in microseconds, the peak in GFLOP/s. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fastbp.h"

enum { PACKED, BLAS, GEMM, N_WAYS };
enum { FORWARD, INPUT_GRAD, WEIGHT_GRAD, N_PRODUCTS };
enum { MAX_SAMPLES = 400, MIN_SAMPLES = 7, N_JOBS = N_WAYS * N_PRODUCTS };
static const char *const product_name[N_PRODUCTS] = {"forward", "input_grad", "weight_grad"};
static const char *const way_name[N_WAYS] = {"packed", "blas", "gemm"};
static const fbp_activation ACT = FBP_ACT_relu;

static const fbp_after nothing;

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void stop(const char *why) {
    fprintf(stderr, "products: %s\n", why);
    exit(1);
}

/* ---- the peak: independent multiply-adds in registers ------------------------------------------------ */

/* COUNT sums in flight: more than latency times units, no more than there are registers */
#define PEAK(name, REAL, BYTES, COUNT, TARGET)                                                       \
    __attribute__((noinline)) TARGET static double name(int64_t steps) {                             \
        typedef REAL vec __attribute__((vector_size(BYTES)));                                        \
        volatile REAL start = (REAL)0.5;                                                             \
        vec sum[COUNT], x = (vec){0} + start, y = x;                                                 \
        for (int r = 0; r < COUNT; r++) sum[r] = x + (REAL)r;                                        \
        for (int64_t i = 0; i < steps; i++) {                                                        \
            _Pragma("GCC unroll 32") for (int r = 0; r < COUNT; r++) sum[r] = sum[r] * x + y;        \
        }                                                                                            \
        for (int r = 1; r < COUNT; r++) sum[0] += sum[r];                                            \
        start = sum[0][0];                                                                           \
        return 2.0 * (double)steps * COUNT * (BYTES / sizeof(REAL));                                 \
    }
PEAK(peak_f32_baseline, float, 16, 12, )
PEAK(peak_f64_baseline, double, 16, 12, )
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512dq")))
PEAK(peak_f32_avx2, float, 32, 12, AVX2)
PEAK(peak_f64_avx2, double, 32, 12, AVX2)
PEAK(peak_f32_avx512, float, 64, 24, AVX512)
PEAK(peak_f64_avx512, double, 64, 24, AVX512)
#endif

typedef double peak_loop(int64_t steps);

static peak_loop *peak_of(const char *isa, fbp_dtype dtype) {
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0)
        return dtype == FBP_F32 ? peak_f32_avx512 : peak_f64_avx512;
    if (strcmp(isa, "avx2") == 0)
        return dtype == FBP_F32 ? peak_f32_avx2 : peak_f64_avx2;
#endif
    (void)isa;
    return dtype == FBP_F32 ? peak_f32_baseline : peak_f64_baseline;
}

/* ---- one layer ------------------------------------------------------------------------------------- */

typedef struct {
    const fbp_backend *be;
    fbp_layer layer; /* its `dense` is the way: PACKED or BLAS */
    int n;
    /* W(in,out), b(out), z_in(n,in), dz_rows(n,out) row-major: made once, for all ways */
    void *W, *b, *z_in, *dz_rows;
    /* results z(n,out), dz_in(n,in) and dW(in,out); dz as this dense likes it */
    void *z, *dz_in, *dW, *dz, *scratch;
} bench;

static void set(const fbp_backend *be, void *p, int64_t i, double x) {
    if (be->dtype == FBP_F32)
        ((float *)p)[i] = (float)x;
    else
        ((double *)p)[i] = x;
}

static double get(const fbp_backend *be, const void *p, int64_t i) {
    return be->dtype == FBP_F32 ? ((const float *)p)[i] : ((const double *)p)[i];
}

static void fill(const fbp_backend *be, void *p, int64_t count, uint64_t seed) {
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        set(be, p, i, (double)(int64_t)(seed >> 40) / (1 << 23) - 1);
    }
}

/* Run on an arena without a block it measures, on a real one it carves. */
static void lay_out(fbp_arena *arena, bench *ways) {
    const fbp_backend *be = ways[PACKED].be;
    int in = ways[PACKED].layer.in, out = ways[PACKED].layer.out, n = ways[PACKED].n;
    int *overflow = &arena->overflow;
    arena->cursor = 0;
    void *W = fbp_arena_take(arena, "W", -1, in, out, be->item);
    void *b = fbp_arena_take(arena, "b", -1, out, 1, be->item);
    void *z_in = fbp_arena_take(arena, "z_in", -1, n, in, be->item);
    void *dz_rows = fbp_arena_take(arena, "dz", -1, n, out, be->item);
    for (int way = PACKED; way <= BLAS; way++) {
        bench *x = &ways[way];
        const fbp_dense *dense = x->layer.dense;
        size_t packed = dense->packed_size(be, &x->layer, 0, overflow);
        size_t packed_T = dense->packed_size(be, &x->layer, 1, overflow);
        size_t dz = dense->dz_size(be, n, out, overflow), dz_in = dense->dz_size(be, n, in, overflow);
        size_t scratch = dense->scratch_size(be, &x->layer, n, n, overflow);
        x->W = W, x->b = b, x->z_in = z_in, x->dz_rows = dz_rows;
        x->layer.packed = packed ? fbp_arena_take(arena, "packed", -1, 1, (int64_t)packed, 1) : NULL;
        x->layer.packed_T = packed_T ? fbp_arena_take(arena, "packed_T", -1, 1, (int64_t)packed_T, 1) : NULL;
        x->dz = fbp_arena_take(arena, "dz", -1, 1, (int64_t)dz, 1);
        x->dz_in = fbp_arena_take(arena, "dz_in", -1, 1, (int64_t)dz_in, 1);
        x->scratch = fbp_arena_take(arena, "scratch", -1, 1, (int64_t)scratch, 1);
        x->z = fbp_arena_take(arena, "z", -1, n, out, be->item);
        x->dW = fbp_arena_take(arena, "dW", -1, in, out, be->item);
    }
}

static void prepare(fbp_arena *arena, bench *ways, const fbp_backend *be, int in, int out, int n) {
    *arena = (fbp_arena){0};
    for (int way = PACKED; way <= BLAS; way++) {
        ways[way] = (bench){.be = be, .n = n};
        ways[way].layer = (fbp_layer){.in = in, .out = out, .act = ACT, .tile_rows = in, .n_tiles = 1};
        ways[way].layer.W = 1; /* not the first layer */
        ways[way].layer.dense = way == PACKED ? &fbp_dense_packed : &fbp_dense_blas;
    }
    lay_out(arena, ways);
    if (arena->overflow || fbp_arena_alloc(arena, arena->cursor) != FBP_OK)
        stop("no memory");
    lay_out(arena, ways);
    fill(be, ways[PACKED].W, (int64_t)in * out, 1);
    fill(be, ways[PACKED].b, out, 2);
    fill(be, ways[PACKED].z_in, (int64_t)n * in, 3);
    fill(be, ways[PACKED].dz_rows, (int64_t)n * out, 4);
    for (int way = PACKED; way <= BLAS; way++) {
        bench *x = &ways[way];
        const fbp_dense *dense = x->layer.dense;
        if (dense->pack)
            dense->pack(be, &x->layer, x->W, 0, in);
        if (dense->take_dz)
            dense->take_dz(be, &x->layer, x->dz, x->dz_rows, 0, n, n);
        else
            memcpy(x->dz, x->dz_rows, (size_t)n * out * be->item);
    }
}

/* C = op(A) op(B), row-major, as bare as it gets */
static void gemm(const fbp_backend *be, char trans_a, char trans_b, int m, int n, int k, void *A, int lda,
                 void *B, int ldb, void *C, int ldc) {
    float one = 1, zero = 0;
    double one_d = 1, zero_d = 0;
    if (be->dtype == FBP_F32)
        be->blas->sgemm(&trans_b, &trans_a, &n, &m, &k, &one, B, &ldb, A, &lda, &zero, C, &ldc);
    else
        be->blas->dgemm(&trans_b, &trans_a, &n, &m, &k, &one_d, B, &ldb, A, &lda, &zero_d, C, &ldc);
}

static void run(bench *ways, int product, int way) {
    bench *x = &ways[way == PACKED ? PACKED : BLAS];
    const fbp_backend *be = x->be;
    const fbp_layer *layer = &x->layer;
    const fbp_left left = {x->z_in, ACT, NULL};
    int in = layer->in, out = layer->out, n = x->n;
    if (way == GEMM) {
        if (product == FORWARD)
            gemm(be, 'N', 'N', n, out, in, x->z_in, in, x->W, out, x->z, out);
        else if (product == INPUT_GRAD)
            gemm(be, 'N', 'T', n, in, out, x->dz_rows, out, x->W, out, x->dz_in, in);
        else
            gemm(be, 'T', 'N', in, out, n, x->z_in, in, x->dz_rows, out, x->dW, out);
    } else if (product == FORWARD) {
        layer->dense->forward(be, layer, x->W, x->b, x->z, &left, 0, n, x->scratch, &nothing);
    } else if (product == INPUT_GRAD) {
        layer->dense->input_grad(be, layer, x->W, x->dz_in, x->dz, x->z_in, ACT, 0, n, n, x->scratch,
                                 &nothing);
    } else {
        layer->dense->weight_grad(be, layer, x->dW, x->dz, &left, 0, in, n, 0, x->scratch, &nothing, NULL);
    }
}

/* Largest difference between packed and blas, over the largest number: both do the same work. */
static double difference(bench *ways) {
    const fbp_backend *be = ways->be;
    int in = ways->layer.in, out = ways->layer.out, n = ways->n;
    double worst = 0;
    for (int product = 0; product < N_PRODUCTS; product++) {
        int rows = product == WEIGHT_GRAD ? in : n, cols = product == INPUT_GRAD ? in : out;
        double far = 0, most = 1e-300;
        run(ways, product, PACKED);
        run(ways, product, BLAS);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++) {
                double found[2];
                for (int way = PACKED; way <= BLAS; way++) {
                    const bench *x = &ways[way];
                    int64_t at = (int64_t)i * cols + j;
                    if (product == INPUT_GRAD) { /* in panels */
                        int64_t panel = x->layer.dense->dz_panel(be, cols);
                        at = (j / panel * n + i) * panel + j % panel;
                    }
                    found[way] = get(be,
                                     product == FORWARD      ? x->z
                                     : product == INPUT_GRAD ? x->dz_in
                                                             : x->dW,
                                     at);
                }
                far = fmax(far, fabs(found[0] - found[1]));
                most = fmax(most, fabs(found[1]));
            }
        worst = fmax(worst, far / most);
    }
    return worst;
}

/* ---- timing ---------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *samples, int count) {
    qsort(samples, (size_t)count, sizeof *samples, ascending);
    return 0.5 * (samples[(count - 1) / 2] + samples[count / 2]);
}

static double seconds_of(bench *ways, int product, int way, int calls) {
    double start = seconds_now();
    for (int i = 0; i < calls; i++) run(ways, product, way);
    return (seconds_now() - start) / calls;
}

static void measure(bench *ways, peak_loop *peak, double seconds, double *peak_flops, double *us) {
    static double samples[N_JOBS + 1][MAX_SAMPLES];
    const double least = 5e-4; /* of one sample */
    int calls[N_JOBS], count = 0;
    int64_t steps = 100000;
    for (int job = 0; job < N_JOBS; job++) {
        double once = seconds_of(ways, job / N_WAYS, job % N_WAYS, 3);
        calls[job] = once > least ? 1 : (int)ceil(least / once);
    }
    peak(steps);
    for (double start = seconds_now(); count < MIN_SAMPLES || seconds_now() - start < seconds;) {
        double before = seconds_now(), flops = peak(steps);
        samples[N_JOBS][count] = flops / (seconds_now() - before);
        for (int job = 0; job < N_JOBS; job++)
            samples[job][count] = seconds_of(ways, job / N_WAYS, job % N_WAYS, calls[job]);
        if (++count == MAX_SAMPLES)
            break;
    }
    *peak_flops = median(samples[N_JOBS], count);
    for (int job = 0; job < N_JOBS; job++) us[job] = 1e6 * median(samples[job], count);
}

int main(int argc, char **argv) {
    if (argc < 7)
        stop("usage: products BLAS SGEMM DGEMM DTYPE SECONDS in,out,n ...");
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library)
        stop(dlerror());
    fbp_blas blas = {(fbp_sgemm *)dlsym(library, argv[2]), (fbp_dgemm *)dlsym(library, argv[3])};
    if (!blas.sgemm || !blas.dgemm)
        stop("the BLAS library lacks these functions");
    fbp_dtype dtype = strcmp(argv[4], "float64") == 0 ? FBP_F64 : FBP_F32;
    fbp_backend be = {dtype, dtype == FBP_F32 ? sizeof(float) : sizeof(double), fbp_kernels_of(dtype), &blas};
    double seconds = atof(argv[5]);
    printf("{\"level\": \"%s\", \"dtype\": \"%s\", \"shapes\": [", be.kernels->isa, argv[4]);
    for (int i = 6; i < argc; i++) {
        int in, out, n;
        fbp_arena arena;
        bench ways[2];
        double peak, us[N_JOBS];
        if (sscanf(argv[i], "%d,%d,%d", &in, &out, &n) != 3 || in < 1 || out < 1 || n < 1)
            stop("a shape is in,out,n");
        prepare(&arena, ways, &be, in, out, n);
        double error = difference(ways);
        measure(ways, peak_of(be.kernels->isa, dtype), seconds, &peak, us);
        printf("%s\n {\"in\": %d, \"out\": %d, \"n\": %d, \"peak_gflops\": %.4g, \"error\": %.3g",
               i > 6 ? "," : "", in, out, n, 1e-9 * peak, error);
        for (int product = 0; product < N_PRODUCTS; product++) {
            printf(", \"%s\": {", product_name[product]);
            for (int way = 0; way < N_WAYS; way++)
                printf("%s\"%s\": %.5g", way ? ", " : "", way_name[way], us[product * N_WAYS + way]);
            printf("}");
        }
        printf("}");
        fflush(stdout);
        fbp_arena_free(&arena);
    }
    printf("]}\n");
    return 0;
}
