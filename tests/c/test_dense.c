/* The kinds of dense layers: forward, input gradient, weight gradient, bias gradient and packing against the naive
 * products, over shapes around every edge of a vector or a block, at every level and in both dtypes. All operands
 * end, or begin, at a forbidden page; those that the caller of the library owns start at any element. Rows cut
 * differently give the same bits where that is promised. NaN and infinity appear where the naive product has them. */
#include "check.h"
#include "train/train.h"

#ifdef CHECK_SANITIZED
enum { ANY_SHAPES = 60, SAMPLED = 100 };
#else
enum { ANY_SHAPES = 300, SAMPLED = 400 };
#endif
enum { MOST_BYTES = 24 << 20, FEW = 100000, MOST_ROWS = 1025 };

static const int EDGES[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  12, 13, 14, 15, 16, 17, 24, 27, 28,
                            29, 30, 31, 32, 33, 41, 42, 43, 47, 48, 49, 56, 57, 63, 64, 65, 66, 67};
static const int LARGE[][3] = {
    /* in, out, n */
    {784, 100, 200}, {257, 513, 1025}, {100, 784, 385}, {1100, 1300, 70}, {513, 257, 129}, {257, 1, 1025},
    {1024, 1, 385},  {1800, 33, 40},   {33, 1800, 40},  {128, 64, 384},   {64, 128, 31},   {1024, 10, 17},
    {10, 1024, 768}, {200, 1000, 520}, {40, 600, 256},  {40, 300, 256},   {64, 19, 300},   {200, 1300, 300},
};
enum { N_EDGES = sizeof EDGES / sizeof *EDGES, N_LARGE = sizeof LARGE / sizeof *LARGE };

enum { Z_IN, W, B, Z, DZ_ROWS, Y, STORE, PACKED, EDGE, PACKED_T, DZ, DZ_IN, DW, DB, SCRATCH, N_BLOCKS };
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

static fbp_backend backend_of(const fbp_kernels *kernels, int packed) {
    return (fbp_backend){.kernels = kernels, .param_dtype = kernels->dtype, .blas = &naive_blas, .packed = packed};
}

/* ---- one shape ------------------------------------------------------------------------------------------ */

typedef struct {
    fbp_backend be;
    fbp_net net;
    fbp_layer layers[2]; /* the last is the one that is tested */
    fbp_param params[4];
    int l;               /* 0: it reads X; 1: it reads z[0] of a layer whose activation is `act` */
    fbp_layer *layer;
    const fbp_layer_kind *kind;
    fbp_activation act;
    int64_t n;
    int special;  /* NaN and infinities among the operands */
    int grad_x;   /* l = 0: there will be a gradient by X */
    double share; /* of z[0] that is dropped, where the layer reads it */
    void *z[2];
    fbp_tape tape;
    fbp_pass pass;
    void *z_in, *W, *b;
    double *exact_z_in, *exact_a, *exact_slope, *exact_W, *exact_b, *exact_dz; /* the operands as they are in dtype */
    double *kept; /* what a is multiplied with: 0 where it is dropped */
} problem;

static fbp_dtype dtype_of(const problem *p) { return p->be.kernels->dtype; }

static const char *name_of(const problem *p) {
    static char text[128];
    snprintf(text, sizeof text, "%s %s %s l=%d in=%d out=%d n=%ld %s drop=%g", p->kind->name, p->be.kernels->isa,
             dtype_name(dtype_of(p)), p->l, p->layer->in, p->layer->out, (long)p->n, fbp_activation_name[p->act],
             p->share);
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

/* both sums, ours and the exact one, add k terms; a = f(z) is within a few ulp, and where it should be 0, at -infinity,
 * a tiny number that makes infinity of what 0 makes NaN of */
static int near(const problem *p, double got, double want, double size, int64_t k) {
    double bound = (double)(2 * k + 16) * epsilon_of(dtype_of(p)) * size + 16 * smallest_normal(dtype_of(p));
    if (p->act > FBP_ACT_leaky_relu && isnan(want)) return !isfinite(got);
    return same_kind(got, want) && (!isfinite(want) || fabs(got - want) <= bound);
}

/* Calls visit for every element of (rows, cols), or for some of them when there are many. */
static void each(const problem *p, int64_t rows, int64_t cols, const void *result, double before,
                 void (*visit)(const problem *p, int64_t r, int64_t j, const void *result, double before)) {
    if (rows * cols <= FEW / (p->n + p->layer->in + p->layer->out) * 16) {
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

static void check_z(const problem *p, int64_t r, int64_t j, const void *z, double before) {
    int in = p->layer->in, out = p->layer->out;
    double size, want = dot(p->exact_a + r * in, 1, p->exact_W + j, out, in, &size) + p->exact_b[j];
    double got = get(z, r * out + j, dtype_of(p));
    (void)before;
    CHECK(near(p, got, want, size + fabs(p->exact_b[j]), in), "%s: z[%ld,%ld] = %.9g, not %.9g", name_of(p), (long)r,
          (long)j, got, want);
}

static void check_dz_in(const problem *p, int64_t r, int64_t i, const void *dz_in, double before) {
    fbp_operand to = fbp_pass_dz(&p->pass, p->l - 1);
    int in = p->layer->in, out = p->layer->out;
    double size, want = dot(p->exact_dz + r * out, 1, p->exact_W + i * out, 1, out, &size);
    double got = get(fbp_element(&to, r, i), 0, dtype_of(p)), slope = p->exact_slope[r * in + i];
    double kept = p->kept[r * in + i];
    (void)dz_in, (void)before;
    if (kept == 0 || (p->act == FBP_ACT_relu && p->exact_z_in[r * in + i] <= 0))
        want = size = 0; /* whatever comes */
    else if (p->act != FBP_ACT_identity && p->act != FBP_ACT_relu)
        want *= slope;
    want *= kept;
    size *= kept;
    CHECK(near(p, got, want, size, out), "%s: dz_in[%ld,%ld] = %.9g, not %.9g", name_of(p), (long)r, (long)i, got,
          want);
}

static void check_dW(const problem *p, int64_t i, int64_t j, const void *dW, double before) {
    int in = p->layer->in, out = p->layer->out;
    double size, want = dot(p->exact_a + i, in, p->exact_dz + j, out, p->n, &size) + before;
    double got = get(dW, i * out + j, dtype_of(p));
    CHECK(near(p, got, want, size + fabs(before), p->n), "%s: dW[%ld,%ld] = %.9g, not %.9g", name_of(p), (long)i,
          (long)j, got, want);
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
    if (cut[pieces] < count) cut[++pieces] = count;
    return pieces;
}

/* What comes after a product must not matter to it: any operand of any layout, or none. */
static const fbp_operand *anything(const problem *p) {
    static fbp_operand next;
    static char memory[1 << 16];
    static const fbp_layout layouts[] = {FBP_ROWS, FBP_PANELS, FBP_BLOCKS};
    int rows = 1 + (int)random_below(300), cols = 1 + (int)random_below(300);
    int64_t nr = p->be.kernels->gemm.nr;
    next = fbp_in_panels(random_below(5) ? memory : NULL, dtype_of(p), layouts[random_below(3)], rows, cols, (int)nr);
    return random_below(4) ? &next : NULL;
}

/* The layer reads X where its rows lie, if it can; otherwise as a matrix. Returns whether the bits must be those of
 * the matrix: where the trainer would choose this way. */
static int read_pointers(problem *p) {
    static const void *rows[MOST_ROWS];
    if (p->l > 0 || !p->kind->reads_pointers) return 1;
    for (int64_t r = 0; r < p->n; r++) rows[r] = fbp_at(p->z_in, r * p->layer->in, dtype_of(p));
    p->pass.batch.x.layout = FBP_POINTERS;
    p->pass.batch.x.data = rows;
    return p->kind->reads_pointers(&p->be, p->layer, p->n);
}

static void read_matrix(problem *p) { p->pass.batch.x = fbp_rows(p->z_in, dtype_of(p), p->n, p->layer->in); }

static void check_forward(problem *p, void *scratch, size_t scratch_bytes) {
    int64_t count = p->n * p->layer->out, cut[MOST_CUTS + 1];
    size_t bytes = (size_t)count * item_of(dtype_of(p));
    void *z = operand(Z, count, dtype_of(p)), *once = malloc(bytes);
    read_matrix(p);
    p->pass.scratch = scratch;
    p->pass.next_b = anything(p);
    p->kind->forward(&p->pass, p->l, z, 0, p->n);
    each(p, p->n, p->layer->out, z, 0, check_z);
    memcpy(once, z, bytes);

    z = operand(Z, count, dtype_of(p));
    read_pointers(p);
    for (int pieces = random_cuts(p->n, 1, cut), i = pieces - 1; i >= 0; i--) {
        memset(scratch, 0xff, scratch_bytes);
        p->pass.next_b = anything(p);
        p->kind->forward(&p->pass, p->l, z, cut[i], cut[i + 1]);
        for (int64_t k = 0; k < cut[i] * p->layer->out; k += 7)
            CHECK(isnan(get(z, k, dtype_of(p))), "%s: forward of rows from %ld wrote before them", name_of(p),
                  (long)cut[i]);
    }
    if (p->kind->cut_invariant)
        CHECK(same_bits(once, z, count, dtype_of(p)), "%s: forward depends on the cut", name_of(p));
    else
        each(p, p->n, p->layer->out, z, 0, check_z);
    free(once);
}

/* padding is written: what was in the memory before never enters a product */
static void check_defined(const problem *p, const void *packed, int64_t count) {
    for (int64_t i = 0; i < count && !p->special; i++)
        CHECK(isfinite(get(packed, i, dtype_of(p))), "%s: number %ld of a packed matrix", name_of(p), (long)i);
}

/* dz of the layer in its layout, from rows that are cut anyhow: the squared error of zeros leaves z as it is */
static void check_loss(problem *p, void *dz_rows) {
    int out = p->layer->out, overflow = 0;
    int64_t cut[MOST_CUTS + 1];
    uint8_t *zeros = calloc((size_t)(p->n * out), 1);
    fbp_data data = {.rows = p->n, .outputs = out, .features = p->layer->in, .y_dtype = FBP_U8, .y = zeros};
    fbp_source source = fbp_source_of(&data, NULL);
    const int64_t first = p->pass.batch.first;
    p->pass.batch.first = 0;
    p->pass.batch.source = &source;
    p->pass.batch.kernels = p->be.kernels;
    p->pass.batch.to.y = operand(Y, p->n * out, dtype_of(p));
    p->pass.batch.scale = 1;
    p->z[p->l] = p->tape.dz_top = dz_rows;
    fbp_operand dz = fbp_pass_dz(&p->pass, p->l);
    CHECK((dz.layout == FBP_PANELS) == p->be.packed, "%s: layout %d", name_of(p), dz.layout);
    if (p->be.packed) p->tape.dz_top = own(DZ, fbp_operand_bytes(&dz, &overflow));
    double loss = 0, size, want = dot(p->exact_dz, 1, p->exact_dz, 1, p->n * out, &size) / 2;
    for (int pieces = random_cuts(p->n, 1, cut), i = pieces - 1; i >= 0; i--) {
        loss += fbp_net_loss(&p->pass, cut[i], cut[i + 1]);
        dz = fbp_pass_dz(&p->pass, p->l);
        for (int64_t r = 0; r < cut[i] && p->be.packed; r++)
            CHECK(isnan(get(fbp_element(&dz, r, r % out), 0, dtype_of(p))),
                  "%s: loss of rows from %ld wrote dz of row %ld", name_of(p), (long)cut[i], (long)r);
    }
    double slack = (8 * epsilon_of(dtype_of(p)) + (double)(p->n * out) * DBL_EPSILON) * size;
    CHECK(same_kind(loss, want) && (!isfinite(want) || fabs(loss - want) <= slack), "%s: loss %.9g, not %.9g",
          name_of(p), loss, want);
    for (int64_t r = 0; r < p->n; r++)
        for (int j = 0; j < out; j++) {
            double got = get(fbp_element(&dz, r, j), 0, dtype_of(p)), exact = p->exact_dz[r * out + j];
            CHECK(same_kind(got, exact) && (isnan(exact) || got == exact), "%s: dz[%ld,%d]", name_of(p), (long)r, j);
        }
    if (p->be.packed) check_defined(p, dz.data, fbp_whole(out, dz.nr) * p->n);
    p->pass.batch.source = NULL;
    p->pass.batch.first = first;
    free(zeros);
}

static void check_input_grad(problem *p, void *scratch, size_t scratch_bytes) {
    int in = p->layer->in, overflow = 0;
    int64_t cut[MOST_CUTS + 1];
    fbp_operand to = fbp_pass_dz(&p->pass, 0), first = to;
    size_t bytes = fbp_operand_bytes(&to, &overflow);
    p->tape.dz[0] = to.data = own(DZ_IN, bytes);
    p->pass.scratch = scratch;
    p->pass.next_b = anything(p);
    p->kind->input_grad(&p->pass, 1, 0, p->n);
    each(p, p->n, in, to.data, 0, check_dz_in);
    first.data = memcpy(malloc(bytes), to.data, bytes);

    own(DZ_IN, bytes);
    for (int pieces = random_cuts(p->n, 1, cut), i = pieces - 1; i >= 0; i--) {
        memset(scratch, 0xff, scratch_bytes);
        p->pass.next_b = anything(p);
        p->kind->input_grad(&p->pass, 1, cut[i], cut[i + 1]);
        for (int64_t r = 0; r < cut[i]; r++)
            CHECK(isnan(get(fbp_element(&to, r, r % in), 0, dtype_of(p))),
                  "%s: input gradient of rows from %ld wrote row %ld", name_of(p), (long)cut[i], (long)r);
    }
    if (!p->kind->cut_invariant)
        each(p, p->n, in, to.data, 0, check_dz_in);
    else
        for (int64_t r = 0; r < p->n; r++)
            for (int j = 0; j < in; j++)
                CHECK(same_bits(fbp_element(&first, r, j), fbp_element(&to, r, j), 1, dtype_of(p)),
                      "%s: dz_in[%ld,%d] depends on the cut", name_of(p), (long)r, j);
    free(first.data);
}

/* dJ/dX of layer 0 ends at a forbidden page: it is the caller's. */
static void check_grad_x(problem *p, void *scratch) {
    int64_t count = p->n * p->layer->in, cut[MOST_CUTS + 1];
    p->pass.scratch = scratch;
    p->pass.grad_x = operand(DZ_IN, count, dtype_of(p));
    for (int pieces = random_cuts(p->n, 1, cut), i = pieces - 1; i >= 0; i--) {
        p->pass.next_b = anything(p);
        p->kind->input_grad(&p->pass, 0, cut[i], cut[i + 1]);
        for (int64_t k = 0; k < cut[i] * p->layer->in; k += 7)
            CHECK(isnan(get(p->pass.grad_x, k, dtype_of(p))), "%s: dJ/dX of rows from %ld wrote before them",
                  name_of(p), (long)cut[i]);
    }
    each(p, p->n, p->layer->in, p->pass.grad_x, 0, check_dz_in);
}

/* Rows of W in tiles: any where cuts are free, whole multiples of 32 elsewhere. The copies of W are not read, they may
 * be anywhere: their places are only prefetched. */
static void check_weight_grad(problem *p, void *scratch, size_t scratch_bytes) {
    const size_t own_bytes = scratch_bytes;
    int in = p->layer->in, out = p->layer->out;
    int64_t cut[MOST_CUTS + 1];
    size_t item = item_of(dtype_of(p)), bytes = (size_t)in * (size_t)out * item, row = (size_t)out * item;
    char *once = malloc(bytes), *pieced = malloc(bytes);
    const fbp_operand w = p->layer->w, w_T = p->layer->w_T;
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        double before = accumulate ? 0.75 : 0;
        scratch_bytes = own_bytes;
        p->pass.scratch = scratch = own(SCRATCH, scratch_bytes);
        void *dW = operand(DW, (int64_t)in * out, dtype_of(p));
        if (accumulate) fill(dW, (int64_t)in * out, before, dtype_of(p));
        read_matrix(p);
        p->pass.next_b = anything(p);
        p->kind->weight_grad(&p->pass, p->l, dW, 0, in, accumulate);
        each(p, in, out, dW, before, check_dW);
        memcpy(once, dW, bytes);

        int as_the_matrix = read_pointers(p), overflow = 0;
        if (!as_the_matrix) { /* the layer has counted its scratch without such rows */
            scratch_bytes =
                fbp_gemm_scratch(&p->be.kernels->gemm, dtype_of(p), p->n, out - p->layer->edge, 1, 1, &overflow);
            p->pass.scratch = scratch = own(SCRATCH, scratch_bytes);
        }
        for (int pieces = random_cuts(in, p->kind->cut_invariant ? 1 : 32, cut), i = pieces - 1; i >= 0; i--) {
            int64_t rows = cut[i + 1] - cut[i];
            memset(scratch, 0xff, scratch_bytes);
            dW = operand(DW, rows * out, dtype_of(p));
            if (accumulate) fill(dW, rows * out, before, dtype_of(p));
            p->pass.next_b = anything(p);
            if (p->be.packed && random_bits() & 1) p->layer->w.data = random_bits() & 1 ? scratch : NULL;
            if (p->be.packed && random_bits() & 1) p->layer->w_T.data = random_bits() & 1 ? scratch : NULL;
            p->kind->weight_grad(&p->pass, p->l, dW, (int)cut[i], (int)cut[i + 1], accumulate);
            p->layer->w = w;
            p->layer->w_T = w_T;
            memcpy(pieced + (size_t)cut[i] * row, dW, (size_t)rows * row);
        }
        if (p->kind->cut_invariant && as_the_matrix)
            CHECK(same_bits(once, pieced, (int64_t)in * out, dtype_of(p)), "%s: dW depends on the cut (accumulate %d)",
                  name_of(p), accumulate);
        else
            each(p, in, out, pieced, before, check_dW);
    }
    free(once);
    free(pieced);
}

/* Columns in pieces that begin at multiples of 64, each at any place. */
static void check_bias_grad(const problem *p) {
    int out = p->layer->out;
    int64_t cut[MOST_CUTS + 1];
    for (int accumulate = 0; accumulate < 2; accumulate++)
        for (int pieces = random_cuts(out, 64, cut), i = pieces - 1; i >= 0; i--) {
            int64_t count = cut[i + 1] - cut[i];
            void *db = operand(DB, count, dtype_of(p));
            if (accumulate) fill(db, count, -2, dtype_of(p));
            fbp_net_bias_grad(&p->pass, p->l, db, (int)cut[i], (int)cut[i + 1], accumulate);
            for (int64_t j = 0; j < count; j++) {
                const double one = 1;
                double size, got = get(db, j, dtype_of(p));
                double want = dot(p->exact_dz + cut[i] + j, out, &one, 0, p->n, &size) - 2 * accumulate;
                CHECK(near(p, got, want, size + 2 * accumulate, p->n), "%s: db[%ld] = %.9g, not %.9g", name_of(p),
                      (long)(cut[i] + j), got, want);
            }
        }
}

/* Carves the copies of W, checks that the plan is what was carved, and moves every one of them to a page of its own. */
static void lay_out(problem *p, int input_grad) {
    fbp_plan_row rows[2];
    fbp_arena plan = {.rows = rows, .max_rows = 2};
    fbp_layer *layer = p->layer;
    int overflow = 0;
    layer->w = layer->w_T = (fbp_operand){0};
    layer->w_edge = NULL;
    if (!p->kind->lay_out) return;
    p->kind->lay_out(&p->be, layer, &plan, p->l, input_grad);
    CHECK(!layer->w.data && !layer->w_T.data && !layer->w_edge && !plan.overflow, "%s: measuring", name_of(p));
    int copies = (layer->w.layout == FBP_BLOCKS) + input_grad;
    CHECK(plan.n_rows == copies, "%s: %d copies, not %d", name_of(p), plan.n_rows, copies);

    fbp_arena kept = {.base = own(STORE, plan.cursor), .size = plan.cursor};
    p->kind->lay_out(&p->be, layer, &kept, p->l, input_grad);
    CHECK(kept.cursor == plan.cursor, "%s: measured %zu, carved %zu", name_of(p), plan.cursor, kept.cursor);
    CHECK((layer->w_T.data != NULL) == input_grad, "%s: a copy of W^T", name_of(p));
    if (layer->w.layout == FBP_BLOCKS) {
        size_t bytes = fbp_operand_bytes(&layer->w, &overflow);
        CHECK(layer->w.data == kept.base && layer->w_edge == kept.base + bytes, "%s: W", name_of(p));
        CHECK(layer->w.cols + layer->edge == layer->out, "%s: %d columns", name_of(p), layer->w.cols);
        layer->w.data = own(PACKED, bytes);
        layer->w_edge = own(EDGE, rows[0].bytes - bytes);
    }
    if (input_grad) {
        CHECK(layer->w_T.data == kept.base + rows[copies - 1].offset, "%s: W^T", name_of(p));
        layer->w_T.data = own(PACKED_T, rows[copies - 1].bytes);
    }
}

/* Row i of W is in none of the copies yet. */
static void check_untouched(const problem *p, int i) {
    const fbp_layer *layer = p->layer;
    const fbp_operand *w = &layer->w, *T = &layer->w_T;
    fbp_dtype dtype = dtype_of(p);
    int place = (int)random_below(layer->out), nr = p->be.kernels->gemm.nr;
    if (w->layout == FBP_BLOCKS && place < w->cols) {
        const void *panel = fbp_b_panel(w, place & -(int64_t)nr, i / w->kc * w->kc);
        CHECK(isnan(get(panel, i % w->kc * nr + place % nr, dtype)), "%s: row %d of W", name_of(p), i);
    }
    if (T->data) {
        const void *panel = fbp_b_panel(T, i & -(int64_t)nr, place / T->kc * T->kc);
        CHECK(isnan(get(panel, place % T->kc * nr + i % nr, dtype)), "%s: row %d of W^T", name_of(p), i);
    }
    for (int c = 0; c < layer->edge; c++) {
        int64_t at = c / 4 * fbp_edge_group(&p->be.kernels->gemm, layer->in) + i / nr * 4 * nr + c % 4 * nr + i % nr;
        CHECK(isnan(get(layer->w_edge, at, dtype)), "%s: row %d of the edge", name_of(p), i);
    }
}

/* Refreshed in any pieces the copies are the same to the bit, padding included. */
static void check_pack(problem *p) {
    fbp_layer *layer = p->layer;
    int in = layer->in, overflow = 0;
    int64_t cut[MOST_CUTS + 1];
    int input_grad = p->l > 0 || p->grad_x;
    lay_out(p, input_grad);
    CHECK((p->kind->pack != NULL) == (p->kind->lay_out != NULL), "%s: copies that are not refreshed", name_of(p));
    if (!p->kind->pack) return;
    int blocks = layer->w.layout == FBP_BLOCKS; /* a small W of whole panels stays as it is */
    size_t bytes[3] = {blocks ? fbp_operand_bytes(&layer->w, &overflow) : 0,
                       fbp_edge_bytes(&p->be.kernels->gemm, dtype_of(p), in, layer->edge, &overflow),
                       input_grad ? fbp_operand_bytes(&layer->w_T, &overflow) : 0};
    void *copy[3] = {layer->w.data, layer->w_edge, layer->w_T.data};
    static const int place[3] = {PACKED, EDGE, PACKED_T};
    char *once[3];
    p->kind->pack(&p->be, layer, p->W, 0, in);
    if (blocks) check_defined(p, layer->w.data, fbp_whole(layer->w.cols, layer->w.nr) * in);
    if (layer->edge)
        check_defined(p, layer->w_edge, fbp_edge_group(&p->be.kernels->gemm, in) * fbp_ceil_div(layer->edge, 4));
    for (int c = 0; c < 3; c++) {
        once[c] = malloc(bytes[c] + 1);
        if (bytes[c]) {
            memcpy(once[c], copy[c], bytes[c]);
            own(place[c], bytes[c]);
        }
    }
    for (int pieces = random_cuts(in, input_grad ? FBP_WEIGHT_UNIT : 1, cut), i = pieces - 1; i >= 0; i--) {
        p->kind->pack(&p->be, layer, p->W, (int)cut[i], (int)cut[i + 1]);
        for (int row = 0; row < cut[i]; row += 3) /* rows of another thread */
            check_untouched(p, row);
    }
    for (int c = 0; c < 3; c++) {
        CHECK(!bytes[c] || memcmp(once[c], copy[c], bytes[c]) == 0, "%s: packing copy %d in pieces", name_of(p), c);
        free(once[c]);
    }
}

static double *doubles(int64_t count) { return malloc((size_t)count * sizeof(double)); }

/* The number at `address`, counted from the parameters on: they need not be in one block. */
static int64_t offset_of(const problem *p, const void *address) {
    return ((intptr_t)address - (intptr_t)p->pass.params) / (intptr_t)item_of(dtype_of(p));
}

static void new_net(problem *p, int in, int out) {
    int reads_z = p->l > 0, widths[] = {reads_z ? 1 : in, reads_z ? in : out, out}, act = p->act;
    const fbp_config config = {.n_layers = 1 + p->l, .widths = widths, .acts = &act};
    fbp_status status = fbp_net_init(&p->net, p->layers, p->params, &config);
    CHECK(status == FBP_OK, "status %d", status);
    p->layer = &p->layers[p->l];
    CHECK(p->layer->in == in && p->layer->out == out && p->layer->act == FBP_ACT_identity, "the layer");
    p->kind = p->layer->kind = fbp_layer_kind_of(&p->be, p->layer, p->l, 0, p->grad_x);
    p->layer->tile_rows = p->layer->tile_unit = in;
    p->layer->units = p->layer->n_tiles = 1;
    p->pass = (fbp_pass){.net = &p->net, .be = &p->be, .tape = &p->tape, .batch = {.n = p->n}};
    p->tape = (fbp_tape){.z = p->z};
    p->z[0] = p->z_in; /* of no use to a layer that reads X */
    p->pass.params = fbp_at(p->W, -p->layer->W->offset, dtype_of(p));
    p->params[2 * p->l + 1].offset = offset_of(p, p->b);
    CHECK(fbp_pass_param(&p->pass, p->layer->W) == p->W && fbp_pass_param(&p->pass, p->layer->b) == p->b, "W, b");
    read_matrix(p);
}

/* Marks z[0] in two pieces, as two threads would, and takes what is dropped out of a. */
static void drop_some(problem *p) {
    const fbp_elementwise *kernels = &p->be.kernels->elementwise;
    int in = p->layer->in;
    int64_t half = random_below(p->n + 1), from[] = {0, half, p->n};
    fbp_drop drop;
    p->layer->dropout = p->share;
    p->pass.drops = 1;
    p->pass.drop_key = random_bits();
    p->pass.batch.first = random_below(1000);
    for (int piece = 0; piece < 2; piece++) {
        CHECK(fbp_pass_drop(&p->pass, p->l, from[piece], &drop), "%s: nothing is dropped", name_of(p));
        CHECK(drop.scale == fbp_pass_drop_scale(&p->pass, p->l), "%s: a scale of %g", name_of(p), drop.scale);
        kernels->mark(fbp_at(p->z_in, from[piece] * in, dtype_of(p)), from[piece + 1] - from[piece], in, &drop);
    }
    for (int64_t i = 0; i < p->n * in; i++) {
        uint32_t low;
        memcpy(&low, fbp_at(p->z_in, i, dtype_of(p)), sizeof low); /* little-endian, as all that we know */
        p->exact_z_in[i] = get(p->z_in, i, dtype_of(p));
        p->kept[i] = low & 1 ? 0 : 1 / (1 - p->share);
    }
}

/* `special`: so many NaN, infinities and zeros strewn into each operand; share: of dropout */
static void check_layer(const fbp_kernels *kernels, int packed, int l, int in, int out, int64_t n, fbp_activation act,
                        int special, double share) {
    problem p = {
        .be = backend_of(kernels, packed),
        .l = l,
        .act = act,
        .n = n,
        .special = special,
        .grad_x = l == 0 && random_bits() & 1,
        .share = share,
        .kept = doubles(n * in),
        .exact_z_in = doubles(n * in),
        .exact_a = doubles(n * in),
        .exact_slope = doubles(n * in),
        .exact_W = doubles((int64_t)in * out),
        .exact_b = doubles(out),
        .exact_dz = doubles(n * out),
    };
    fbp_dtype dtype = kernels->dtype;
    int where = special ? (int)random_below(4) : -1, overflow = 0;
    p.z_in = operand(Z_IN, n * in, dtype);
    p.W = operand(W, (int64_t)in * out, dtype);
    p.b = operand(B, out, dtype);
    void *dz_rows = operand(DZ_ROWS, n * out, dtype);
    randomise(p.z_in, p.exact_z_in, n * in, 3, where == 0 || where == 3 ? special : 0, dtype);
    randomise(p.W, p.exact_W, (int64_t)in * out, 1, where == 1 || where == 3 ? special : 0, dtype);
    randomise(p.b, p.exact_b, out, 1, where == 3, dtype);
    randomise(dz_rows, p.exact_dz, n * out, 1, where == 2 || where == 3 ? special : 0, dtype);
    new_net(&p, in, out);
    for (int64_t i = 0; i < n * in; i++) p.kept[i] = 1;
    if (share > 0) drop_some(&p);
    for (int64_t i = 0; i < n * in; i++) {
        p.exact_a[i] = p.kept[i] == 0 ? 0 : (double)exact_act(act, p.exact_z_in[i]) * p.kept[i];
        p.exact_slope[i] = (double)exact_slope(act, p.exact_z_in[i]);
    }
    snprintf(check_where, sizeof check_where, "%s", name_of(&p));

    check_pack(&p);
    /* scratch serves tiles and passes of so many rows, and shorter ones */
    int64_t most = n + (random_bits() & 1 ? 0 : random_below(2 * n));
    size_t (*scratch_of)(const fbp_backend *, const fbp_layer *, int, int64_t, int64_t, int *) = p.kind->scratch;
    size_t scratch_bytes = scratch_of ? scratch_of(&p.be, p.layer, p.l, most, random_bits() & 1, &overflow) : 0;
    void *scratch = own(SCRATCH, scratch_bytes);
    check_forward(&p, scratch, scratch_bytes);
    check_loss(&p, dz_rows);
    if (l > 0) check_input_grad(&p, scratch, scratch_bytes);
    if (p.grad_x) check_grad_x(&p, scratch);
    scratch_bytes = scratch_of ? scratch_of(&p.be, p.layer, p.l, 1, most, &overflow) : 0;
    scratch = own(SCRATCH, scratch_bytes);
    CHECK(!overflow, "%s", name_of(&p));
    check_weight_grad(&p, scratch, scratch_bytes);
    check_bias_grad(&p);

    free(p.kept);
    free(p.exact_z_in);
    free(p.exact_a);
    free(p.exact_slope);
    free(p.exact_W);
    free(p.exact_b);
    free(p.exact_dz);
}

/* As a hidden layer, with and without dropout, and without an activation as the first one too. */
static void check_shape(const fbp_kernels *kernels, int packed, int in, int out, int64_t n, fbp_activation act,
                        int special) {
    const double shares[] = {0.5, 0.1, 0.9};
    if (act == FBP_ACT_identity) check_layer(kernels, packed, 0, in, out, n, act, special, 0);
    check_layer(kernels, packed, 1, in, out, n, act, special, 0);
    if (random_bits() & 1) check_layer(kernels, packed, 1, in, out, n, act, special, shares[random_below(3)]);
}

static void check_shapes(const fbp_kernels *kernels, int packed, int share) {
    for (int i = 0; i < N_EDGES / share; i++) /* each edge once in each place */
        for (int place = 0; place < 3; place++) {
            int other = EDGES[random_below(N_EDGES)], e = EDGES[(i * share + place) % N_EDGES];
            check_shape(kernels, packed, place == 0 ? e : 33, place == 1 ? e : other, place == 2 ? e : 15,
                        (fbp_activation)(i % FBP_N_ACT), 0);
        }
    for (int i = 0; i < ANY_SHAPES / share; i++)
        check_shape(kernels, packed, EDGES[random_below(N_EDGES)], EDGES[random_below(N_EDGES)],
                    EDGES[random_below(N_EDGES)], (fbp_activation)random_below(FBP_N_ACT), i % 3 == 0 ? 1 + i % 5 : 0);
}

static void packed_products_are_the_naive_ones(fbp_dtype dtype, const fbp_kernels *kernels) {
    (void)dtype;
    check_shapes(kernels, 1, check_share());
    for (int i = 0; i < N_LARGE; i++)
        check_shape(kernels, 1, LARGE[i][0], LARGE[i][1], LARGE[i][2], (fbp_activation)(i % FBP_N_ACT), i == 1 ? 2 : 0);
}

static void blas_products_are_the_naive_ones(fbp_dtype dtype, const fbp_kernels *kernels) {
    (void)dtype;
    check_shapes(kernels, 0, 4 * check_share());
}

/* W and b in either dtype, exactly as long as they are: what is read beyond their ends faults. */
static void check_direct(const fbp_kernels *kernels, fbp_dtype param_dtype, int in, int out, int64_t n) {
    fbp_dtype dtype = kernels->dtype;
    int64_t lda = in + random_below(3);
    double *exact_a = doubles(n * lda), *exact_W = doubles((int64_t)in * out), *exact_b = doubles(out), size;
    void *a = operand(Z_IN, n * lda, dtype), *z = operand(DZ_ROWS, n * out, dtype);
    void *weights = operand(W, (int64_t)in * out, param_dtype), *b = operand(B, out, param_dtype);
    randomise(a, exact_a, n * lda, 1, 0, dtype);
    randomise(weights, exact_W, (int64_t)in * out, 1, 0, param_dtype);
    randomise(b, exact_b, out, 1, 0, param_dtype);
    for (int64_t i = 0; i < n * out; i++) put(z, i, NAN, dtype);
    kernels->direct.forward[param_dtype](z, a, lda, n, weights, b, in, out);
    for (int64_t r = 0; r < n; r++)
        for (int j = 0; j < out; j++) {
            double want = exact_b[j] + dot(exact_a + r * lda, 1, exact_W + j, out, in, &size);
            double got = get(z, r * out + j, dtype);
            CHECK(fabs(got - want) <= (in + 2) * epsilon_of(dtype) * (size + fabs(exact_b[j])),
                  "%s %s: direct in=%d out=%d n=%ld, row %ld, column %d: %.17g, not %.17g", kernels->isa,
                  dtype_name(dtype), in, out, (long)n, (long)r, j, got, want);
        }
    free(exact_a);
    free(exact_W);
    free(exact_b);
}

static void direct_products_are_the_naive_ones(fbp_dtype dtype, const fbp_kernels *kernels) {
    for (int i = 0; i < 60; i++) {
        int in = 1 + (int)random_below(70), out = 1 + (int)random_below(i % 2 ? 70 : 20);
        for (int64_t n = 1; n <= 14; n += 1 + random_below(3)) {
            check_direct(kernels, FBP_F32, in, out, n);
            if (dtype == FBP_F64) check_direct(kernels, FBP_F64, in, out, n);
        }
    }
}

static void every_layer_is_of_its_kind(fbp_dtype dtype, const fbp_kernels *kernels) {
    (void)dtype;
    for (int packed = 0; packed < 2; packed++)
        for (int sparse = 0; sparse < 2; sparse++)
            for (int l = 0; l < 2; l++)
                for (int out = 1; out < 3; out++) {
                    fbp_backend be = backend_of(kernels, packed);
                    fbp_layer layer = {.in = 3, .out = out};
                    const fbp_layer_kind *kind = fbp_layer_kind_of(&be, &layer, l, sparse, 0);
                    const fbp_layer_kind *want = l == 0 && sparse ? &fbp_layer_sparse
                                                 : !packed        ? &fbp_layer_blas
                                                 : out == 1       ? &fbp_layer_one_output
                                                                  : &fbp_layer_packed;
                    CHECK(kind == want, "%s, not %s", kind->name, want->name);
                    if (want == &fbp_layer_one_output && l == 0) want = &fbp_layer_packed;
                    kind = fbp_layer_kind_of(&be, &layer, l, sparse, 1);
                    CHECK(kind == want, "with dJ/dX %s, not %s", kind->name, want->name);
                    be.direct = 1;
                    want = l == 0 && sparse ? &fbp_layer_sparse : &fbp_layer_direct;
                    kind = fbp_layer_kind_of(&be, &layer, l, sparse, 0);
                    CHECK(kind == want, "%s, not %s", kind->name, want->name);
                }
}

/* Scratch for a pass of many rows serves one of fewer: no size may need more than a larger one. */
static void scratch_grows_with_the_rows(fbp_dtype dtype, const fbp_kernels *kernels) {
    static const int widths[] = {2, 65, 300, 480, 520, 600, 1000, 2100};
    for (int packed = 0; packed < 2; packed++)
        for (int i = 0; i < (int)(sizeof widths / sizeof *widths); i++)
            for (int first = 0; first < 2; first++) {
                fbp_backend be = backend_of(kernels, packed);
                fbp_param W = {.offset = !first};
                fbp_layer layer = {.in = 300, .out = widths[i], .W = &W, .tile_rows = 32, .tile_unit = 32, .units = 10};
                const fbp_layer_kind *kind = fbp_layer_kind_of(&be, &layer, !first, 0, 0);
                fbp_arena kept = {0};
                if (kind->lay_out) kind->lay_out(&be, &layer, &kept, !first, !first);
                size_t before = 0;
                int overflow = 0;
                for (int64_t n = 0; n < 1100; n++) {
                    size_t bytes = kind->scratch(&be, &layer, !first, n, n, &overflow);
                    CHECK(bytes >= before, "%s %s %s of %d: %zu bytes for %ld rows, %zu for one less", kind->name,
                          kernels->isa, dtype_name(dtype), widths[i], bytes, (long)n, before);
                    before = bytes;
                }
            }
}

/* A size that does not fit is seen by every function that counts. */
static void sizes_beyond_the_machine_are_seen(fbp_dtype dtype, const fbp_kernels *kernels) {
    fbp_backend be = backend_of(kernels, 1);
    int overflow = 0, nr = kernels->gemm.nr;
    for (int input_grad = 0; input_grad < 2; input_grad++) {
        fbp_layer wide = {.in = INT32_MAX, .out = INT32_MAX - 64};
        fbp_arena kept = {0};
        fbp_layer_packed.lay_out(&be, &wide, &kept, 1, input_grad);
        CHECK(kept.overflow, "packed weights");
    }
    fbp_operand wide_T = fbp_in_panels(NULL, dtype, FBP_BLOCKS, INT32_MAX - 64, INT32_MAX, nr);
    fbp_operand panels = fbp_in_panels(NULL, dtype, FBP_PANELS, INT64_MAX / 2, 7, nr);
    fbp_operand rows = fbp_rows(NULL, dtype, INT64_MAX / 2, 7);
    const fbp_operand *too_large[] = {&wide_T, &panels, &rows};
    for (int i = 0; i < 3; i++) {
        overflow = 0;
        fbp_operand_bytes(too_large[i], &overflow);
        CHECK(overflow, "operand %d", i);
    }
    overflow = 0;
    fbp_edge_bytes(&kernels->gemm, dtype, INT64_MAX / 8, 7, &overflow);
    CHECK(overflow, "an edge");
    fbp_param W = {.offset = 1};
    fbp_layer layer = {.in = INT32_MAX, .out = 3, .W = &W, .tile_rows = 32, .tile_unit = 32, .units = 1, .n_tiles = 1};
    for (int tile = 0; tile < 2; tile++) {
        overflow = 0;
        fbp_layer_blas.scratch(&be, &layer, 1, tile ? INT64_MAX / 2 : 5, tile ? 5 : INT64_MAX / 2, &overflow);
        CHECK(overflow, "scratch");
    }
}

/* What a trainer would work with, FASTBP_DENSE being `choice` (NULL: unset). */
static const char *products_of(const char *choice, int forward_only, int64_t batch) {
    const int widths[] = {30, 40, 5}, act = FBP_ACT_relu;
    fbp_config config = {.n_layers = 2,
                         .widths = widths,
                         .acts = &act,
                         .optimizer = FBP_OPT_adam,
                         .batch = batch,
                         .n_threads = 1,
                         .forward_only = forward_only,
                         .blas = &naive_blas};
    fbp_trainer *tr;
    if (choice)
        setenv("FASTBP_DENSE", choice, 1);
    else
        unsetenv("FASTBP_DENSE");
    CHECK(fbp_trainer_new(&tr, &config, 1) == FBP_OK, "no plan");
    const char *products = fbp_trainer_plan(tr).products;
    fbp_trainer_free(tr);
    return products;
}

static void the_environment_chooses(void) {
    char *given = getenv("FASTBP_DENSE") ? strdup(getenv("FASTBP_DENSE")) : NULL;
    CHECK(strcmp(products_of("blas", 0, 200), "blas") == 0, "%s", products_of("blas", 0, 200));
    CHECK(strcmp(products_of("packed", 0, 200), "packed") == 0, "%s", products_of("packed", 0, 200));
    CHECK(strcmp(products_of("something else", 0, 200), products_of(NULL, 0, 200)) == 0, "another word");
    CHECK(strcmp(products_of("packed", 1, FBP_PACKED_MIN_ROWS), "packed") == 0, "a long prediction");
    CHECK(strcmp(products_of("packed", 1, FBP_PACKED_MIN_ROWS - 1), "direct") == 0, "a short prediction");
    CHECK(strcmp(products_of("packed", 0, 3), "packed") == 0, "a small batch");
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
    at_every_level(direct_products_are_the_naive_ones);
    at_every_level(every_layer_is_of_its_kind);
    at_every_level(scratch_grows_with_the_rows);
    at_every_level(sizes_beyond_the_machine_are_seen);
    the_environment_chooses();
    for (int i = 0; i < N_BLOCKS; i++) guarded_free(block[i]);
    return check_report("dense");
}
