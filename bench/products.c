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

#include "net/net.h"

enum { PACKED, BLAS, GEMM, N_WAYS };
enum { FORWARD, INPUT_GRAD, WEIGHT_GRAD, N_PRODUCTS };
enum { MAX_SAMPLES = 400, MIN_SAMPLES = 7, N_JOBS = N_WAYS * N_PRODUCTS };
static const char *const product_name[N_PRODUCTS] = {"forward", "input_grad", "weight_grad"};
static const char *const way_name[N_WAYS] = {"packed", "blas", "gemm"};
static const fbp_activation ACT = FBP_ACT_relu;

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

/* The layer is the second of a net, so it has an input gradient, and reads z of a layer with an activation. */
typedef struct {
    fbp_backend be; /* the way: PACKED or BLAS */
    fbp_net net;
    fbp_layer layers[2], *layer;
    fbp_param params[4];
    void *z_of[2];
    fbp_tape tape;
    fbp_pass pass;
    /* W(in,out), b(out), z_in(n,in), dz_rows(n,out) row-major: made once, for all ways */
    void *W, *b, *z_in, *dz_rows;
    void *z, *dW; /* results z(n,out), dW(in,out); dz_in(n,in) is on the tape */
} bench;

static fbp_dtype dtype_of(const bench *x) { return x->be.kernels->dtype; }

static void set(fbp_dtype dtype, void *p, int64_t i, double x) {
    if (dtype == FBP_F32)
        ((float *)p)[i] = (float)x;
    else
        ((double *)p)[i] = x;
}

static double get(fbp_dtype dtype, const void *p) {
    return dtype == FBP_F32 ? (double)*(const float *)p : *(const double *)p;
}

static void fill(fbp_dtype dtype, void *p, int64_t count, uint64_t seed) {
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        set(dtype, p, i, (double)(int64_t)(seed >> 40) / (1 << 23) - 1);
    }
}

/* Run on an arena without a block it measures, on a real one it carves. */
static void lay_out(fbp_arena *arena, bench *ways) {
    fbp_dtype dtype = dtype_of(ways);
    size_t item = fbp_item(dtype);
    int in = ways->layer->in, out = ways->layer->out;
    int64_t n = ways->pass.batch.n;
    int *overflow = &arena->overflow;
    arena->cursor = 0;
    /* W of the layer before and b of both are among them */
    void *params = fbp_arena_take(arena, "params", -1, ways->net.n_params, 1, item);
    void *z_in = fbp_arena_take(arena, "z_in", -1, n, in, item);
    void *dz_rows = fbp_arena_take(arena, "dz", -1, n, out, item);
    for (int way = PACKED; way <= BLAS; way++) {
        bench *x = &ways[way];
        const fbp_layer_kind *kind = x->layer->kind;
        fbp_operand dz = fbp_pass_dz(&x->pass, 1), dz_in = fbp_pass_dz(&x->pass, 0);
        x->pass.params = params;
        x->W = fbp_at(params, x->layer->W->offset, dtype);
        x->b = fbp_at(params, x->layer->b->offset, dtype);
        x->z_in = x->z_of[0] = z_in;
        x->dz_rows = dz_rows;
        if (kind->lay_out)
            kind->lay_out(&x->be, x->layer, arena, 1, 1);
        x->tape.dz_top = fbp_arena_take_bytes(arena, "dz", -1, 1, fbp_operand_bytes(&dz, overflow));
        x->tape.dz[0] = fbp_arena_take_bytes(arena, "dz_in", -1, 1, fbp_operand_bytes(&dz_in, overflow));
        size_t scratch = kind->scratch ? kind->scratch(&x->be, x->layer, 1, n, n, overflow) : 0;
        x->pass.scratch = fbp_arena_take_bytes(arena, "scratch", -1, 1, scratch);
        x->z = fbp_arena_take(arena, "z", -1, n, out, item);
        x->dW = fbp_arena_take(arena, "dW", -1, in, out, item);
    }
}

static void prepare(fbp_arena *arena, bench *ways, const fbp_backend *be, int in, int out, int n) {
    const int widths[] = {1, in, out}, act = ACT;
    *arena = (fbp_arena){0};
    for (int way = PACKED; way <= BLAS; way++) {
        bench *x = &ways[way];
        *x = (bench){.be = *be};
        x->be.packed = way == PACKED;
        if (fbp_net_init(&x->net, x->layers, x->params, 2, widths, &act, FBP_LOSS_squared_error) != FBP_OK)
            stop("a layer too large");
        x->layer = &x->layers[1];
        x->layer->kind = fbp_layer_kind_of(&x->be, x->layer, 1, 0);
        x->layer->tile_rows = in;
        x->layer->n_tiles = 1;
        x->tape.z = x->z_of;
        x->pass = (fbp_pass){.net = &x->net, .be = &x->be, .tape = &x->tape, .batch = {.n = n}};
    }
    lay_out(arena, ways);
    if (arena->overflow || fbp_arena_alloc(arena, arena->cursor) != FBP_OK)
        stop("no memory");
    lay_out(arena, ways);
    fbp_dtype dtype = be->kernels->dtype;
    fill(dtype, ways->W, (int64_t)in * out, 1);
    fill(dtype, ways->b, out, 2);
    fill(dtype, ways->z_in, (int64_t)n * in, 3);
    fill(dtype, ways->dz_rows, (int64_t)n * out, 4);
    for (int way = PACKED; way <= BLAS; way++) {
        bench *x = &ways[way];
        if (x->layer->kind->pack)
            x->layer->kind->pack(&x->be, x->layer, x->W, 0, in);
        if (x->be.packed)
            be->kernels->gemm.pack(x->tape.dz_top, x->dz_rows, out, n, out, 0, n);
        else
            memcpy(x->tape.dz_top, x->dz_rows, (size_t)n * (size_t)out * fbp_item(dtype));
    }
}

static void run(bench *ways, int product, int way) {
    const bench *x = &ways[way == PACKED ? PACKED : BLAS];
    const fbp_layer *layer = x->layer;
    const fbp_pass *p = &x->pass;
    int in = layer->in, out = layer->out, n = (int)p->batch.n;
    if (way == GEMM) { /* as bare as it gets */
        if (product == FORWARD)
            fbp_gemm_blas(x->be.blas, dtype_of(x), 'N', 'N', n, out, in, x->z_in, in, x->W, out, 0, x->z,
                          out);
        else if (product == INPUT_GRAD)
            fbp_gemm_blas(x->be.blas, dtype_of(x), 'N', 'T', n, in, out, x->dz_rows, out, x->W, out, 0,
                          x->tape.dz[0], in);
        else
            fbp_gemm_blas(x->be.blas, dtype_of(x), 'T', 'N', in, out, n, x->z_in, in, x->dz_rows, out, 0,
                          x->dW, out);
    } else if (product == FORWARD) {
        layer->kind->forward(p, 1, x->z, 0, n);
    } else if (product == INPUT_GRAD) {
        layer->kind->input_grad(p, 1, 0, n);
    } else {
        layer->kind->weight_grad(p, 1, x->dW, 0, in, 0);
    }
}

/* Largest difference between packed and blas, over the largest number: both do the same work. */
static double difference(bench *ways) {
    fbp_dtype dtype = dtype_of(ways);
    int in = ways->layer->in, out = ways->layer->out, n = (int)ways->pass.batch.n;
    double worst = 0;
    for (int product = 0; product < N_PRODUCTS; product++) {
        int rows = product == WEIGHT_GRAD ? in : n, cols = product == INPUT_GRAD ? in : out;
        double far = 0, most = 1e-300;
        fbp_operand result[2];
        for (int way = PACKED; way <= BLAS; way++) {
            bench *x = &ways[way];
            run(ways, product, way);
            result[way] = product == INPUT_GRAD
                              ? fbp_pass_dz(&x->pass, 0)
                              : fbp_rows(product == FORWARD ? x->z : x->dW, dtype, rows, cols);
        }
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++) {
                double packed = get(dtype, fbp_element(&result[PACKED], i, j));
                double blas = get(dtype, fbp_element(&result[BLAS], i, j));
                far = fmax(far, fabs(packed - blas));
                most = fmax(most, fabs(blas));
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
    fbp_backend be = {.kernels = fbp_kernels_of(dtype), .blas = &blas};
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
