/* Rows of X and y of any layout, dense and CSR, brought into the arena; and the products of a sparse first
 * layer, which read CSR rows where they are. Operands end at a forbidden page. */
#include "check.h"

static guarded block[5];

static const int64_t ORDER[] = {4, 0, 6, 6, 2, 1, 5, 4, 3};
enum { X_ROWS = 7, N_ORDER = 9 };

static void gather_reads_any_layout(fbp_dtype dtype, const fbp_kernels *k) {
    for (fbp_dtype from = FBP_F32; from <= FBP_F64; from++)
        for (int s = 0; s < CHECK_N_SIZES; s++)
            for (int layout = 0; layout < 4; layout++) {
                int width = CHECK_SIZES[s], item = (int)item_of(from);
                int64_t stride[][2] = {{width, 1}, {1, X_ROWS}, {-width, 1}, {2 * width, -2}};
                int64_t rs = stride[layout][0], cs = stride[layout][1], lowest = 0, highest = 0;
                for (int corner = 0; corner < 4; corner++) {
                    int64_t at = (corner & 1 ? rs * (X_ROWS - 1) : 0) + (corner & 2 ? cs * (width - 1) : 0);
                    lowest = at < lowest ? at : lowest;
                    highest = at > highest ? at : highest;
                }
                char *first = (char *)at_end(block[0], highest - lowest + 1, from) - lowest * item;
                for (int r = 0; r < X_ROWS; r++)
                    for (int j = 0; j < width; j++)
                        put(first + (r * rs + j * cs) * item, 0, r + j / 1000.0, from);
                fbp_data data = {.rows = X_ROWS,
                                 .features = width,
                                 .x_dtype = from,
                                 .x = first,
                                 .row_stride = rs * item,
                                 .col_stride = cs * item};
                for (int ordered = 0; ordered < 2; ordered++) {
                    fbp_rows rows = {.data = &data, .order = ordered ? ORDER : NULL, .first = 2};
                    int n = ordered ? N_ORDER - 2 : X_ROWS - 2;
                    void *x = at_end(block[1], n * width, dtype);
                    k->gather(x, &rows, n, width);
                    for (int i = 0; i < n; i++)
                        for (int j = 0; j < width; j++) {
                            double r = ordered ? (double)ORDER[i + 2] : i + 2;
                            double want = rounded(rounded(r + j / 1000.0, from), dtype),
                                   got = get(x, i * width + j, dtype);
                            CHECK(got == want,
                                  "%s %s from %s, layout %d, width %d, row %d, column %d: %g, not %g", k->isa,
                                  dtype_name(dtype), dtype_name(from), layout, width, i, j, got, want);
                        }
                }
            }
}

static void gather_reads_csr(fbp_dtype dtype, const fbp_kernels *k) {
    enum { WIDTH = 37, COUNT = 8 };
    const int32_t indptr[X_ROWS + 1] = {0, 2, 2, 3, 3, 6, 7, COUNT},
                                  indices[COUNT] = {0, 36, 17, 5, 5, 6, 36, 0};
    int64_t wide_indptr[X_ROWS + 1], wide_indices[COUNT];
    for (int i = 0; i <= X_ROWS; i++) wide_indptr[i] = indptr[i];
    for (int i = 0; i < COUNT; i++) wide_indices[i] = indices[i];
    for (fbp_dtype from = FBP_F32; from <= FBP_F64; from++)
        for (int wide = 0; wide < 2; wide++) {
            void *values = at_end(block[0], COUNT, from), *x = at_end(block[1], N_ORDER * WIDTH, dtype);
            for (int i = 0; i < COUNT; i++) put(values, i, i + 0.5, from);
            fbp_data data = {.rows = X_ROWS,
                             .features = WIDTH,
                             .csr = 1,
                             .x_dtype = from,
                             .x = values,
                             .wide_index = wide,
                             .indptr = wide ? (const void *)wide_indptr : indptr,
                             .indices = wide ? (const void *)wide_indices : indices};
            fbp_rows rows = {.data = &data, .order = ORDER};
            k->gather(x, &rows, N_ORDER, WIDTH);
            for (int i = 0; i < N_ORDER; i++)
                for (int j = 0; j < WIDTH; j++) {
                    double want = 0; /* entries of one place add up */
                    for (int e = indptr[ORDER[i]]; e < indptr[ORDER[i] + 1]; e++)
                        want += indices[e] == j ? e + 0.5 : 0;
                    CHECK(get(x, i * WIDTH + j, dtype) == want,
                          "%s %s from %s, row %d, column %d: %g, not %g", k->isa, dtype_name(dtype),
                          dtype_name(from), i, j, get(x, i * WIDTH + j, dtype), want);
                }
        }
}

static void gather_reads_targets_of_every_dtype(fbp_dtype dtype, const fbp_kernels *k) {
    for (int s = 0; s < CHECK_N_SIZES; s++) {
        int out = CHECK_SIZES[s];
        uint8_t bytes[X_ROWS * CHECK_LARGEST];
        for (fbp_dtype from = FBP_F32; from <= FBP_U8; from++) {
            void *y = from == FBP_U8 ? bytes : at_end(block[0], X_ROWS * out, from),
                 *to = at_end(block[1], N_ORDER * out, dtype);
            for (int i = 0; i < X_ROWS * out; i++) {
                if (from == FBP_U8)
                    bytes[i] = (uint8_t)(i % 2);
                else
                    put(y, i, i % 250, from);
            }
            fbp_data data = {.rows = X_ROWS, .outputs = out, .y_dtype = from, .y = y};
            fbp_rows rows = {.data = &data, .order = ORDER};
            k->gather_targets(to, &rows, N_ORDER, out);
            for (int i = 0; i < N_ORDER; i++)
                for (int j = 0; j < out; j++) {
                    int64_t at = ORDER[i] * out + j;
                    double want = (double)(from == FBP_U8 ? at % 2 : at % 250);
                    CHECK(get(to, i * out + j, dtype) == want, "%s %s, row %d, column %d", k->isa,
                          dtype_name(dtype), i, j);
                }
        }
    }
}

/* ---- the products of a sparse first layer ---------------------------------------------------------------- */

enum { SPARSE_ROWS = 9, SPARSE_COLUMNS = 97, SPARSE_MOST = 2000 };

typedef struct {
    fbp_data data;
    int32_t indptr[SPARSE_ROWS + 1], indices[SPARSE_MOST];
    int64_t wide_indptr[SPARSE_ROWS + 1], wide_indices[SPARSE_MOST];
    double dense[SPARSE_ROWS][SPARSE_COLUMNS],
        size[SPARSE_ROWS][SPARSE_COLUMNS]; /* the sums, and of absolute values */
} sparse;

/* Rows of 0 to 600 entries, more than are handled at a time, many of them at one place. */
static void new_sparse(sparse *s, fbp_dtype from, fbp_dtype to, int wide) {
    static const int lengths[SPARSE_ROWS] = {3, 0, 256, 257, 1, 600, 0, 255, 40};
    memset(s, 0, sizeof *s);
    for (int r = 0; r < SPARSE_ROWS; r++) s->indptr[r + 1] = s->indptr[r] + lengths[r];
    int count = s->indptr[SPARSE_ROWS];
    void *values = at_end(block[0], count, from);
    for (int r = 0; r < SPARSE_ROWS; r++)
        for (int e = s->indptr[r]; e < s->indptr[r + 1]; e++) {
            put(values, e, random_between(-1, 1), from);
            s->indices[e] = (int32_t)random_below(SPARSE_COLUMNS);
            s->dense[r][s->indices[e]] += rounded(get(values, e, from), to);
            s->size[r][s->indices[e]] += fabs(get(values, e, from));
        }
    for (int r = 0; r <= SPARSE_ROWS; r++) s->wide_indptr[r] = s->indptr[r];
    for (int e = 0; e < count; e++) s->wide_indices[e] = s->indices[e];
    s->data = (fbp_data){.rows = SPARSE_ROWS,
                         .features = SPARSE_COLUMNS,
                         .csr = 1,
                         .x_dtype = from,
                         .x = values,
                         .wide_index = wide,
                         .indptr = wide ? (const void *)s->wide_indptr : s->indptr,
                         .indices = wide ? (const void *)s->wide_indices : s->indices};
}

static const int64_t SPARSE_ORDER[] = {5, 0, 1, 8, 3, 3, 2, 7, 6, 4, 5};
enum { SPARSE_N = sizeof SPARSE_ORDER / sizeof *SPARSE_ORDER };

static void sparse_forward(fbp_dtype dtype, const fbp_kernels *k, const sparse *s, int out) {
    double eps = epsilon_of(dtype);
    fbp_rows rows = {.data = &s->data, .order = SPARSE_ORDER};
    void *W = at_start(block[1], SPARSE_COLUMNS * out, 1, dtype), *b = at_end(block[2], out, dtype);
    void *z = at_end(block[3], SPARSE_N * out, dtype), *again = at_end(block[4], SPARSE_N * out, dtype);
    fill_random(W, SPARSE_COLUMNS * out, -1, 1, dtype);
    fill_random(b, out, -1, 1, dtype);
    k->csr_forward(z, &rows, W, b, SPARSE_N, out);
    for (int i = 0; i < SPARSE_N; i++)
        for (int j = 0; j < out; j++) {
            double sum = get(b, j, dtype), size = fabs(sum), got = get(z, i * out + j, dtype);
            for (int c = 0; c < SPARSE_COLUMNS; c++) {
                sum += s->dense[SPARSE_ORDER[i]][c] * get(W, c * out + j, dtype);
                size += s->size[SPARSE_ORDER[i]][c] * fabs(get(W, c * out + j, dtype));
            }
            CHECK(fabs(got - sum) <= 700 * eps * size,
                  "%s %s sparse forward, row %d, out %d of %d: %.9g, not %.9g", k->isa, dtype_name(dtype), i,
                  j, out, got, sum);
        }
    for (int first = 0, n; first < SPARSE_N; first += n) { /* rows cut differently */
        n = 1 + (int)random_below(SPARSE_N - first);
        rows.first = first;
        k->csr_forward((char *)again + (size_t)(first * out) * item_of(dtype), &rows, W, b, n, out);
    }
    CHECK(same_bits(z, again, SPARSE_N * out, dtype), "%s %s: sparse forward depends on the cut", k->isa,
          dtype_name(dtype));
}

static void sparse_weight_grad(fbp_dtype dtype, const fbp_kernels *k, const sparse *s, int out, int panel,
                               int accumulate) {
    double eps = epsilon_of(dtype);
    size_t item = item_of(dtype);
    int64_t padded = (int64_t)(out + panel - 1) / panel * panel * SPARSE_N;
    fbp_rows rows = {.data = &s->data, .order = SPARSE_ORDER};
    void *dz = at_end(block[1], padded, dtype), *dW = at_end(block[2], SPARSE_COLUMNS * out, dtype);
    void *pieced = at_end(block[3], SPARSE_COLUMNS * out, dtype);
    fill_random(dz, padded, -1, 1, dtype);
    if (accumulate)
        fill(dW, SPARSE_COLUMNS * out, 2, dtype);
    k->csr_weight_grad(dW, dz, panel, &rows, 0, SPARSE_COLUMNS, SPARSE_N, out, accumulate);
    for (int c = 0; c < SPARSE_COLUMNS; c++)
        for (int j = 0; j < out; j++) {
            double sum = 2.0 * accumulate, size = sum, got = get(dW, c * out + j, dtype);
            for (int i = 0; i < SPARSE_N; i++) {
                double d = get(dz, ((int64_t)(j / panel) * SPARSE_N + i) * panel + j % panel, dtype);
                sum += s->dense[SPARSE_ORDER[i]][c] * d;
                size += s->size[SPARSE_ORDER[i]][c] * fabs(d);
            }
            CHECK(fabs(got - sum) <= 200 * eps * size, "%s %s sparse dW[%d,%d of %d]: %.9g, not %.9g", k->isa,
                  dtype_name(dtype), c, j, out, got, sum);
        }
    for (int i0 = 0, i1; i0 < SPARSE_COLUMNS;
         i0 = i1) { /* columns of X cut differently, each part at the forbidden page */
        i1 = i0 + 32 * (1 + (int)random_below(2));
        i1 = i1 < SPARSE_COLUMNS ? i1 : SPARSE_COLUMNS;
        void *part = at_end(block[4], (i1 - i0) * out, dtype);
        if (accumulate)
            fill(part, (i1 - i0) * out, 2, dtype);
        k->csr_weight_grad(part, dz, panel, &rows, i0, i1, SPARSE_N, out, accumulate);
        memcpy((char *)pieced + (size_t)(i0 * out) * item, part, (size_t)((i1 - i0) * out) * item);
    }
    CHECK(same_bits(dW, pieced, SPARSE_COLUMNS * out, dtype), "%s %s: sparse dW depends on the cut", k->isa,
          dtype_name(dtype));
}

static void sparse_products_are_the_dense_ones(fbp_dtype dtype, const fbp_kernels *k) {
    static sparse s;
    for (int i = 0; i < CHECK_N_SIZES; i++) {
        int out = CHECK_SIZES[i];
        new_sparse(&s, i & 1 ? FBP_F32 : FBP_F64, dtype, i / 2 & 1);
        sparse_forward(dtype, k, &s, out);
        sparse_weight_grad(dtype, k, &s, out, out, i & 1);
        sparse_weight_grad(dtype, k, &s, out, k->nr, !(i & 1));
    }
}

int main(void) {
    for (int i = 0; i < 5; i++) block[i] = guarded_new(SPARSE_COLUMNS * CHECK_LARGEST * sizeof(double));
    at_every_level(gather_reads_any_layout);
    at_every_level(gather_reads_csr);
    at_every_level(gather_reads_targets_of_every_dtype);
    at_every_level(sparse_products_are_the_dense_ones);
    for (int i = 0; i < 5; i++) guarded_free(block[i]);
    return check_report("rows");
}
