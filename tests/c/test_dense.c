/* dense: forward, input gradient, weight gradient, bias gradient and packing against the naive products, over
 * shapes around every edge of a vector or a block, at every level and in both dtypes. All operands end, or
 * begin, at a forbidden page; those that the caller of the library owns start at any element. Rows cut
 * differently give the same bits where that is promised. NaN and infinity appear where the naive product has them. */
#include "check.h"

#ifdef CHECK_SANITIZED
enum { ANY_SHAPES = 60, SAMPLED = 100 };
#else
enum { ANY_SHAPES = 300, SAMPLED = 400 };
#endif
enum { MOST_BYTES = 16 << 20, FEW = 100000, MOST_ROWS = 1025 };

static const int EDGES[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  12, 13, 14, 15, 16, 17, 24, 27, 28,
                            29, 30, 31, 32, 33, 41, 42, 43, 47, 48, 49, 56, 57, 63, 64, 65, 66, 67};
static const int LARGE[][3] = {
    /* in, out, n */
    {784, 100, 200}, {257, 513, 1025}, {100, 784, 385}, {1100, 1300, 70}, {513, 257, 129},
    {257, 1, 1025},  {1024, 1, 385},   {1800, 33, 40},  {33, 1800, 40},   {128, 64, 384},
    {64, 128, 31},   {1024, 10, 17},   {10, 1024, 768}, {200, 1000, 520},
};
enum { N_EDGES = sizeof EDGES / sizeof *EDGES, N_LARGE = sizeof LARGE / sizeof *LARGE };

enum { Z_IN, W, B, Z, DZ_ROWS, PACKED, PACKED_T, DZ, DZ_IN, DW, DB, SCRATCH, N_BLOCKS };
static guarded block[N_BLOCKS];

/* ---- BLAS, as short as it can be ---------------------------------------------------------------------- */

#define GEMM(name, real)                                                                                     \
    static void name(char *trans_a, char *trans_b, int *m, int *n, int *k, real *alpha, real *a, int *lda,   \
                     real *b, int *ldb, real *beta, real *c, int *ldc) {                                     \
        CHECK(*lda >= (*trans_a == 'N' ? *m : *k) && *ldb >= (*trans_b == 'N' ? *k : *n) && *ldc >= *m,      \
              "%c%c %d %d %d: %d %d %d", *trans_a, *trans_b, *m, *n, *k, *lda, *ldb, *ldc);                  \
        CHECK(*m > 0 && *n > 0 && *k > 0, "an empty product");                                               \
        int64_t a_step = *trans_a == 'N' ? *lda : 1, a_row = *trans_a == 'N' ? 1 : *lda;                     \
        for (int64_t j = 0; j < *n; j++)                                                                     \
            for (int64_t i = 0; i < *m; i++) {                                                               \
                real sum = 0;                                                                                \
                for (int64_t p = 0; p < *k; p++)                                                             \
                    sum += a[i * a_row + p * a_step] * (*trans_b == 'N' ? b[p + j * *ldb] : b[j + p * *ldb]); \
                c[i + j * *ldc] = *alpha * sum + (*beta == 0 ? 0 : *beta * c[i + j * *ldc]);                 \
            }                                                                                                \
    }
GEMM(naive_sgemm, float)
GEMM(naive_dgemm, double)
static const fbp_blas naive_blas = {naive_sgemm, naive_dgemm};

/* ---- one shape ------------------------------------------------------------------------------------------ */

typedef struct {
    fbp_backend be;
    const fbp_dense *dense;
    fbp_layer layer;
    fbp_activation act; /* of the layer before */
    int64_t n;
    int special;        /* NaN and infinities among the operands */
    void *z_in, *W, *b;
    double *exact_z_in, *exact_a, *exact_slope, *exact_W, *exact_b,
        *exact_dz; /* the operands as they are in dtype */
} problem;

static const char *name_of(const problem *p) {
    static char text[128];
    snprintf(text, sizeof text, "%s %s %s in=%d out=%d n=%ld %s", p->dense->name, p->be.kernels->isa,
             dtype_name(p->be.dtype), p->layer.in, p->layer.out, (long)p->n, fbp_activation_name[p->act]);
    return text;
}

/* count items at one of the two ends of their block, aligned to an element only */
static void *operand(int which, int64_t count, fbp_dtype dtype) {
    int side = (int)random_below(4);
    return side ? at_start(block[which], count, side - 1, dtype) : at_end(block[which], count, dtype);
}

/* what the library allocates itself: of the size it asks for, aligned to a cache line, at the forbidden page */
static void *own(int which, size_t bytes) {
    CHECK(bytes % FBP_ALIGN == 0, "%zu bytes", bytes);
    return at_end(block[which], (int64_t)(bytes / sizeof(double)), FBP_F64);
}

static void randomise(void *a, double *exact, int64_t count, double bound, int special, fbp_dtype dtype) {
    const double values[] = {NAN, INFINITY, -INFINITY};
    for (int64_t i = 0; i < count; i++) put(a, i, random_between(-bound, bound), dtype);
    for (int s = 0; s < special; s++) {
        put(a, random_below(count), values[random_below(3)], dtype);
        put(a, random_below(count), 0, dtype);
    }
    for (int64_t i = 0; i < count; i++) exact[i] = get(a, i, dtype);
}

static double slope_of(fbp_activation act, double a) {
    return act == FBP_ACT_logistic ? a * (1 - a) : act == FBP_ACT_tanh ? 1 - a * a : 1;
}

/* sum over k of x[k * x_step] * y[k * y_step], and of the absolute values in *size */
static double dot(const double *x, int64_t x_step, const double *y, int64_t y_step, int64_t k, double *size) {
    double sum = 0;
    *size = 0;
    for (int64_t i = 0; i < k; i++) {
        double product = x[i * x_step] * y[i * y_step];
        sum += product;
        *size += fabs(product);
    }
    return sum;
}

/* both sums, ours and the exact one, add k terms; a = f(z) is within a few ulp */
static int near(const problem *p, double got, double want, double size, int64_t k) {
    double bound = (double)(2 * k + 16) * epsilon_of(p->be.dtype) * size + 1e-300;
    return same_kind(got, want) && (!isfinite(want) || fabs(got - want) <= bound);
}

/* Calls visit for every element of (rows, cols), or for some of them when there are many. */
static void each(const problem *p, int64_t rows, int64_t cols, const void *result, double before,
                 void (*visit)(const problem *p, int64_t r, int64_t j, const void *result, double before)) {
    if (rows * cols <= FEW / (p->n + p->layer.in + p->layer.out) * 16) {
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < cols; j++) visit(p, r, j, result, before);
        return;
    }
    for (int i = 0; i < SAMPLED; i++) /* and the corners */
        visit(p,
              i & 4   ? random_below(rows)
              : i & 1 ? rows - 1
                      : 0,
              i & 8   ? random_below(cols)
              : i & 2 ? cols - 1
                      : 0,
              result, before);
}

/* where this dense keeps element (r, j) of dz(n, width) */
static int64_t dz_index(const problem *p, int width, int64_t r, int64_t j) {
    int64_t panel = p->dense->dz_panel(&p->be, width);
    return (j / panel * p->n + r) * panel + j % panel;
}

static void check_z(const problem *p, int64_t r, int64_t j, const void *z, double before) {
    int in = p->layer.in, out = p->layer.out;
    double size, want = dot(p->exact_a + r * in, 1, p->exact_W + j, out, in, &size) + p->exact_b[j];
    double got = get(z, r * out + j, p->be.dtype);
    (void)before;
    CHECK(near(p, got, want, size + fabs(p->exact_b[j]), in), "%s: z[%ld,%ld] = %.9g, not %.9g", name_of(p),
          (long)r, (long)j, got, want);
}

static void check_dz_in(const problem *p, int64_t r, int64_t i, const void *dz_in, double before) {
    int in = p->layer.in, out = p->layer.out;
    double size, want = dot(p->exact_dz + r * out, 1, p->exact_W + i * out, 1, out, &size);
    double got = get(dz_in, dz_index(p, in, r, i), p->be.dtype), slope = p->exact_slope[r * in + i];
    (void)before;
    if (p->act == FBP_ACT_relu && p->exact_z_in[r * in + i] <= 0)
        want = size = 0; /* whatever comes */
    else if (p->act != FBP_ACT_identity && p->act != FBP_ACT_relu)
        want *= slope;
    CHECK(near(p, got, want, size, out), "%s: dz_in[%ld,%ld] = %.9g, not %.9g", name_of(p), (long)r, (long)i,
          got, want);
}

static void check_dW(const problem *p, int64_t i, int64_t j, const void *dW, double before) {
    int in = p->layer.in, out = p->layer.out;
    double size, want = dot(p->exact_a + i, in, p->exact_dz + j, out, p->n, &size) + before;
    double got = get(dW, i * out + j, p->be.dtype);
    CHECK(near(p, got, want, size + fabs(before), p->n), "%s: dW[%ld,%ld] = %.9g, not %.9g", name_of(p),
          (long)i, (long)j, got, want);
}

/* Cuts 0..count at random multiples of `unit`; returns the number of pieces, piece i is cut[i]..cut[i+1]. */
enum { MOST_CUTS = 12 };
static int random_cuts(int64_t count, int64_t unit, int64_t cut[MOST_CUTS + 1]) {
    int pieces = 0;
    cut[0] = 0;
    while (cut[pieces] < count && pieces < MOST_CUTS - 1) {
        int64_t step = (1 + random_below((count - cut[pieces] + unit - 1) / unit)) * unit;
        cut[pieces + 1] = cut[pieces] + step < count ? cut[pieces] + step : count;
        pieces++;
    }
    if (cut[pieces] < count)
        cut[++pieces] = count;
    return pieces;
}

/* What comes after a product must not matter to it. */
static const fbp_after *anything(void) {
    static fbp_after after;
    static const char memory[1 << 16];
    int64_t bytes = 64 + random_below(1 << 14);
    after = (fbp_after){memory, bytes, bytes, random_below(4)};
    return &after;
}

/* f(z_in) row by row out of X, where that is possible; otherwise as a matrix */
typedef struct {
    fbp_data data;
    fbp_rows rows;
    int64_t order[MOST_ROWS + 2];
    fbp_left left;
    int same_bits; /* as those of the matrix: where the trainer would choose it */
} x_rows;

static const x_rows *as_rows(const problem *p) {
    static x_rows x;
    int64_t item = (int64_t)p->be.item;
    x.data = (fbp_data){
        .x = p->z_in, .x_dtype = p->be.dtype, .row_stride = p->layer.in * item, .col_stride = item};
    for (int64_t i = 0; i <= p->n; i++) x.order[i + 1] = i;
    x.rows = (fbp_rows){.data = &x.data, .order = x.order, .first = 1};
    x.left = (fbp_left){p->z_in, p->act, NULL};
    x.same_bits = 1;
    if (p->act == FBP_ACT_identity && p->layer.out > 1 && p->dense->takes_rows) {
        x.left = (fbp_left){NULL, FBP_ACT_identity, &x.rows};
        x.same_bits = p->dense->takes_rows(&p->be, &p->layer, p->n);
    }
    return &x;
}

static void check_forward(const problem *p, void *scratch, size_t scratch_bytes) {
    int64_t count = p->n * p->layer.out, cut[MOST_CUTS + 1];
    size_t bytes = (size_t)count * p->be.item;
    void *z = operand(Z, count, p->be.dtype), *once = malloc(bytes);
    fbp_left left = {p->z_in, p->act, NULL};
    p->dense->forward(&p->be, &p->layer, p->W, p->b, z, &left, 0, p->n, scratch, anything());
    each(p, p->n, p->layer.out, z, 0, check_z);
    memcpy(once, z, bytes);

    z = operand(Z, count, p->be.dtype);
    for (int pieces = random_cuts(p->n, 1, cut), i = pieces - 1; i >= 0; i--) {
        memset(scratch, 0xff, scratch_bytes);
        p->dense->forward(&p->be, &p->layer, p->W, p->b, z, &as_rows(p)->left, cut[i], cut[i + 1], scratch,
                          anything());
        for (int64_t k = 0; k < cut[i] * p->layer.out; k += 7)
            CHECK(isnan(get(z, k, p->be.dtype)), "%s: forward of rows from %ld wrote before them", name_of(p),
                  (long)cut[i]);
    }
    if (p->dense->free_cut)
        CHECK(same_bits(once, z, count, p->be.dtype), "%s: forward depends on the cut", name_of(p));
    else
        each(p, p->n, p->layer.out, z, 0, check_z);
    free(once);
}

static int64_t panels_of(const problem *p, int width) {
    int64_t panel = p->dense->dz_panel(&p->be, width);
    return (width + panel - 1) / panel * panel;
}

/* padding is written: what was in the memory before never enters a product */
static void check_defined(const problem *p, const void *packed, int64_t count) {
    for (int64_t i = 0; i < count && !p->special; i++)
        CHECK(isfinite(get(packed, i, p->be.dtype)), "%s: number %ld of a packed matrix", name_of(p),
              (long)i);
}

/* dz of the layer in the layout of this dense, from rows that are cut anyhow */
static void *check_take_dz(const problem *p, void *dz_rows) {
    int out = p->layer.out, overflow = 0;
    int64_t cut[MOST_CUTS + 1];
    if (!p->dense->take_dz)
        return dz_rows;
    void *dz = own(DZ, p->dense->dz_size(&p->be, p->n, out, &overflow));
    for (int pieces = random_cuts(p->n, 1, cut), i = pieces - 1; i >= 0; i--)
        p->dense->take_dz(&p->be, &p->layer, dz, dz_rows, cut[i], cut[i + 1], p->n);
    for (int64_t r = 0; r < p->n; r++)
        for (int j = 0; j < out; j++) {
            double got = get(dz, dz_index(p, out, r, j), p->be.dtype), want = p->exact_dz[r * out + j];
            CHECK(same_kind(got, want) && (isnan(want) || got == want), "%s: dz[%ld,%d]", name_of(p), (long)r,
                  j);
        }
    check_defined(p, dz, panels_of(p, out) * p->n);
    return dz;
}

static void check_input_grad(const problem *p, const void *dz, void *scratch, size_t scratch_bytes) {
    int in = p->layer.in, overflow = 0;
    int64_t cut[MOST_CUTS + 1];
    size_t bytes = p->dense->dz_size(&p->be, p->n, in, &overflow);
    void *dz_in = own(DZ_IN, bytes), *once = malloc(bytes);
    p->dense->input_grad(&p->be, &p->layer, p->W, dz_in, dz, p->z_in, p->act, 0, p->n, p->n, scratch,
                         anything());
    each(p, p->n, in, dz_in, 0, check_dz_in);
    memcpy(once, dz_in, bytes);

    dz_in = own(DZ_IN, bytes);
    for (int pieces = random_cuts(p->n, 1, cut), i = pieces - 1; i >= 0; i--) {
        memset(scratch, 0xff, scratch_bytes);
        p->dense->input_grad(&p->be, &p->layer, p->W, dz_in, dz, p->z_in, p->act, cut[i], cut[i + 1], p->n,
                             scratch, anything());
        for (int64_t r = 0; r < cut[i]; r++)
            CHECK(isnan(get(dz_in, dz_index(p, in, r, r % in), p->be.dtype)),
                  "%s: input gradient of rows from %ld wrote row %ld", name_of(p), (long)cut[i], (long)r);
    }
    if (!p->dense->free_cut)
        each(p, p->n, in, dz_in, 0, check_dz_in);
    else
        for (int64_t r = 0; r < p->n; r++)
            for (int j = 0; j < in; j++) {
                int64_t at = dz_index(p, in, r, j) * (int64_t)p->be.item;
                CHECK(same_bits((char *)once + at, (char *)dz_in + at, 1, p->be.dtype),
                      "%s: dz_in[%ld,%d] depends on the cut", name_of(p), (long)r, j);
            }
    free(once);
}

/* in tiles of any rows of W where cuts are free, of whole multiples of 32 elsewhere */
static void check_weight_grad(const problem *p, const void *dz, void *scratch, size_t scratch_bytes) {
    int in = p->layer.in, out = p->layer.out;
    int64_t cut[MOST_CUTS + 1];
    size_t bytes = (size_t)in * (size_t)out * p->be.item, row = (size_t)out * p->be.item;
    char *once = malloc(bytes), *pieced = malloc(bytes);
    fbp_left left = {p->z_in, p->act, NULL};
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        double before = accumulate ? 0.75 : 0;
        void *dW = operand(DW, (int64_t)in * out, p->be.dtype);
        if (accumulate)
            fill(dW, (int64_t)in * out, before, p->be.dtype);
        p->dense->weight_grad(&p->be, &p->layer, dW, dz, &left, 0, in, p->n, accumulate, scratch, anything(),
                              NULL);
        each(p, in, out, dW, before, check_dW);
        memcpy(once, dW, bytes);

        for (int pieces = random_cuts(in, p->dense->free_cut ? 1 : 32, cut), i = pieces - 1; i >= 0; i--) {
            int64_t rows = cut[i + 1] - cut[i];
            memset(scratch, 0xff, scratch_bytes);
            dW = operand(DW, rows * out, p->be.dtype);
            if (accumulate)
                fill(dW, rows * out, before, p->be.dtype);
            p->dense->weight_grad(&p->be, &p->layer, dW, dz, &as_rows(p)->left, (int)cut[i], (int)cut[i + 1],
                                  p->n, accumulate, scratch, anything(), NULL);
            memcpy(pieced + (size_t)cut[i] * row, dW, (size_t)rows * row);
        }
        if (p->dense->free_cut && as_rows(p)->same_bits)
            CHECK(same_bits(once, pieced, (int64_t)in * out, p->be.dtype),
                  "%s: dW depends on the cut (accumulate %d)", name_of(p), accumulate);
        else
            each(p, in, out, pieced, before, check_dW);
    }
    free(once);
    free(pieced);
}

static void check_bias_grad(const problem *p, const void *dz) {
    int out = p->layer.out;
    int64_t cut[MOST_CUTS + 1];
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        void *db = operand(DB, out, p->be.dtype);
        if (accumulate)
            fill(db, out, -2, p->be.dtype);
        for (int pieces = random_cuts(out, 64, cut), i = pieces - 1; i >= 0; i--) {
            p->dense->bias_grad(&p->be, &p->layer, db, dz, (int)cut[i], (int)cut[i + 1], p->n, accumulate);
            for (int j = 0; j < cut[i]; j++) {
                double got = get(db, j, p->be.dtype);
                CHECK(accumulate ? got == -2 : isnan(got), "%s: db from %ld wrote %d", name_of(p),
                      (long)cut[i], j);
            }
        }
        for (int j = 0; j < out; j++) {
            const double one = 1;
            double size, want = dot(p->exact_dz + j, out, &one, 0, p->n, &size) - 2 * accumulate;
            double got = get(db, j, p->be.dtype);
            CHECK(near(p, got, want, size + 2 * accumulate, p->n), "%s: db[%d] = %.9g, not %.9g", name_of(p),
                  j, got, want);
        }
    }
}

/* Refreshed in any pieces the packed copies are the same to the bit, padding included. */
static void check_pack(problem *p) {
    int overflow = 0, in = p->layer.in, out = p->layer.out;
    int64_t cut[MOST_CUTS + 1];
    size_t bytes = p->dense->packed_size(&p->be, &p->layer, 0, &overflow);
    size_t bytes_T = p->dense->packed_size(&p->be, &p->layer, 1, &overflow);
    if (!p->dense->pack)
        return;
    p->layer.packed = bytes ? own(PACKED, bytes) : NULL; /* a small W of whole panels stays as it is */
    p->dense->pack(&p->be, &p->layer, p->W, 0, in);      /* the first layer has no transposed copy */
    p->layer.packed_T = bytes_T ? own(PACKED_T, bytes_T) : NULL; /* nor has one of one output */
    p->dense->pack(&p->be, &p->layer, p->W, 0, in);
    if (bytes)
        check_defined(p, p->layer.packed,
                      p->be.kernels->most_tail ? (int64_t)(bytes / p->be.item) : panels_of(p, out) * in);
    char *once = malloc(bytes + bytes_T);
    if (bytes)
        memcpy(once, p->layer.packed, bytes);
    if (bytes_T)
        memcpy(once + bytes, p->layer.packed_T, bytes_T);

    if (bytes)
        own(PACKED, bytes);
    if (bytes_T)
        own(PACKED_T, bytes_T);
    for (int pieces = random_cuts(in, 16, cut), i = pieces - 1; i >= 0; i--)
        p->dense->pack(&p->be, &p->layer, p->W, (int)cut[i], (int)cut[i + 1]);
    CHECK(!bytes || memcmp(once, p->layer.packed, bytes) == 0, "%s: packing in pieces", name_of(p));
    CHECK(!bytes_T || memcmp(once + bytes, p->layer.packed_T, bytes_T) == 0,
          "%s: packing the transposed in pieces", name_of(p));
    free(once);
}

static double *doubles(int64_t count) { return malloc((size_t)count * sizeof(double)); }

/* `special`: so many NaN, infinities and zeros strewn into each operand */
static void check_shape(fbp_dtype dtype, const fbp_kernels *kernels, const fbp_dense *dense, int in, int out,
                        int64_t n, fbp_activation act, int special) {
    problem p = {
        .be = {dtype, item_of(dtype), kernels, &naive_blas},
        .dense = dense,
        .layer = {.in = in,
                  .out = out,
                  .W = dense->takes_rows && act == FBP_ACT_identity ? 0 : 1,
                  .dense = dense,
                  .tile_rows = in,
                  .tile_unit = in,
                  .units = 1,
                  .n_tiles = 1},
        .act = act,
        .n = n,
        .special = special,
        .exact_z_in = doubles(n * in),
        .exact_a = doubles(n * in),
        .exact_slope = doubles(n * in),
        .exact_W = doubles((int64_t)in * out),
        .exact_b = doubles(out),
        .exact_dz = doubles(n * out),
    };
    snprintf(check_where, sizeof check_where, "%s", name_of(&p));
    int where = special ? (int)random_below(4) : -1, overflow = 0;
    p.z_in = operand(Z_IN, n * in, dtype);
    p.W = operand(W, (int64_t)in * out, dtype);
    p.b = operand(B, out, dtype);
    void *dz_rows = operand(DZ_ROWS, n * out, dtype);
    randomise(p.z_in, p.exact_z_in, n * in, 3, where == 0 || where == 3 ? special : 0, dtype);
    randomise(p.W, p.exact_W, (int64_t)in * out, 1, where == 1 || where == 3 ? special : 0, dtype);
    randomise(p.b, p.exact_b, out, 1, where == 3, dtype);
    randomise(dz_rows, p.exact_dz, n * out, 1, where == 2 || where == 3 ? special : 0, dtype);
    for (int64_t i = 0; i < n * in; i++) {
        p.exact_a[i] = exact_act(act, p.exact_z_in[i]);
        p.exact_slope[i] = slope_of(act, p.exact_a[i]);
    }

    check_pack(&p);
    /* scratch serves tiles and passes of so many rows, and shorter ones */
    int64_t most = n + (random_bits() & 1 ? 0 : random_below(2 * n));
    size_t scratch_bytes = dense->scratch_size(&p.be, &p.layer, most, 1, &overflow);
    void *scratch = own(SCRATCH, scratch_bytes);
    check_forward(&p, scratch, scratch_bytes);
    void *dz = check_take_dz(&p, dz_rows);
    check_input_grad(&p, dz, scratch, scratch_bytes);
    scratch_bytes = dense->scratch_size(&p.be, &p.layer, 1, most, &overflow);
    scratch = own(SCRATCH, scratch_bytes);
    CHECK(!overflow, "%s", name_of(&p));
    check_weight_grad(&p, dz, scratch, scratch_bytes);
    check_bias_grad(&p, dz);

    free(p.exact_z_in);
    free(p.exact_a);
    free(p.exact_slope);
    free(p.exact_W);
    free(p.exact_b);
    free(p.exact_dz);
}

static void check_shapes(fbp_dtype dtype, const fbp_kernels *kernels, const fbp_dense *dense, int share) {
    for (int i = 0; i < N_EDGES / share; i++) /* each edge once in each place */
        for (int place = 0; place < 3; place++) {
            int other = EDGES[random_below(N_EDGES)], e = EDGES[(i * share + place) % N_EDGES];
            check_shape(dtype, kernels, dense, place == 0 ? e : 33, place == 1 ? e : other,
                        place == 2 ? e : 15, (fbp_activation)(i % FBP_N_ACT), 0);
        }
    for (int i = 0; i < ANY_SHAPES / share; i++)
        check_shape(dtype, kernels, dense, EDGES[random_below(N_EDGES)], EDGES[random_below(N_EDGES)],
                    EDGES[random_below(N_EDGES)], (fbp_activation)random_below(FBP_N_ACT),
                    i % 3 == 0 ? 1 + i % 5 : 0);
}

static void packed_products_are_the_naive_ones(fbp_dtype dtype, const fbp_kernels *kernels) {
    check_shapes(dtype, kernels, &fbp_dense_packed, 1);
    for (int i = 0; i < N_LARGE; i++)
        check_shape(dtype, kernels, &fbp_dense_packed, LARGE[i][0], LARGE[i][1], LARGE[i][2],
                    (fbp_activation)(i % FBP_N_ACT), i == 1 ? 2 : 0);
}

static void blas_products_are_the_naive_ones(fbp_dtype dtype, const fbp_kernels *kernels) {
    check_shapes(dtype, kernels, &fbp_dense_blas, 4);
}

/* A size that does not fit is seen by every function that counts. */
static void sizes_beyond_the_machine_are_seen(fbp_dtype dtype, const fbp_kernels *kernels) {
    fbp_backend be = {dtype, item_of(dtype), kernels, &naive_blas};
    int overflow = 0;
    for (int transposed = 0; transposed < 2; transposed++) {
        fbp_layer wide = {.in = INT32_MAX, .out = INT32_MAX - 64};
        overflow = 0;
        fbp_dense_packed.packed_size(&be, &wide, transposed, &overflow);
        CHECK(overflow, "packed weights");
    }
    overflow = 0;
    fbp_dense_packed.dz_size(&be, INT64_MAX / 2, 7, &overflow);
    CHECK(overflow, "packed dz");
    overflow = 0;
    fbp_dense_blas.dz_size(&be, INT64_MAX / 2, 7, &overflow);
    CHECK(overflow, "dz");
    overflow = 0;
    fbp_layer layer = {
        .in = INT32_MAX, .out = 3, .W = 1, .tile_rows = 32, .tile_unit = 32, .units = 1, .n_tiles = 1};
    fbp_dense_blas.scratch_size(&be, &layer, INT64_MAX / 2, 5, &overflow);
    CHECK(overflow, "scratch");
}

static void the_environment_chooses(void) {
    char *given = getenv("FASTBP_DENSE") ? strdup(getenv("FASTBP_DENSE")) : NULL;
    setenv("FASTBP_DENSE", "blas", 1);
    CHECK(fbp_dense_of() == &fbp_dense_blas, "%s", fbp_dense_of()->name);
    setenv("FASTBP_DENSE", "packed", 1);
    CHECK(fbp_dense_of() == &fbp_dense_packed, "%s", fbp_dense_of()->name);
    unsetenv("FASTBP_DENSE");
    const fbp_dense *usual = fbp_dense_of();
    setenv("FASTBP_DENSE", "something else", 1);
    CHECK(fbp_dense_of() == usual, "%s", fbp_dense_of()->name);
    if (given)
        setenv("FASTBP_DENSE", given, 1);
    else
        unsetenv("FASTBP_DENSE");
    free(given);
}

int main(void) {
    for (int i = 0; i < N_BLOCKS; i++) block[i] = guarded_new(MOST_BYTES);
    at_every_level(packed_products_are_the_naive_ones);
    at_every_level(blas_products_are_the_naive_ones);
    at_every_level(sizes_beyond_the_machine_are_seen);
    the_environment_chooses();
    for (int i = 0; i < N_BLOCKS; i++) guarded_free(block[i]);
    return check_report("dense");
}
