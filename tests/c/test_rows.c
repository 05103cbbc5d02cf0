/* Rows of X and y of any layout, dense and CSR, brought into the arena, or found where they are; and the products of a
 * sparse first layer, which read the entries of CSR rows. Operands end at a forbidden page. */
#include "check.h"
#include "net/net.h"

static guarded block[5];

static const int64_t ORDER[] = {4, 0, 6, 6, 2, 1, 5, 4, 3};
enum { X_ROWS = 7, N_ORDER = 9 };

/* ---- gathering --------------------------------------------------------------------------------------------- */

enum { CONTIGUOUS, COLUMN_MAJOR, FLIPPED_ROWS, FLIPPED_COLUMNS, ROWS_APART, N_LAYOUTS };

/* (X_ROWS, width) numbers of dtype `from` in one of the layouts, at the forbidden page; row r holds r + j / 1000 */
static fbp_data new_dense(int layout, fbp_dtype from, int width) {
    int item = (int)item_of(from);
    int64_t stride[N_LAYOUTS][2] = {{width, 1}, {1, X_ROWS}, {-width, 1}, {2 * width, -2}, {width + 3, 1}};
    int64_t rs = stride[layout][0], cs = stride[layout][1], lowest = 0, highest = 0;
    for (int corner = 0; corner < 4; corner++) {
        int64_t at = (corner & 1 ? rs * (X_ROWS - 1) : 0) + (corner & 2 ? cs * (width - 1) : 0);
        lowest = at < lowest ? at : lowest;
        highest = at > highest ? at : highest;
    }
    char *first = (char *)at_end(block[0], highest - lowest + 1, from) - lowest * item;
    for (int r = 0; r < X_ROWS; r++)
        for (int j = 0; j < width; j++) put(first + (r * rs + j * cs) * item, 0, r + j / 1000.0, from);
    return (fbp_data){.rows = X_ROWS,
                      .features = width,
                      .x_dtype = from,
                      .x = first,
                      .row_stride = rs * item,
                      .col_stride = cs * item,
                      .y_dtype = from};
}

/* What row i of the visit has in column j, as `dtype` */
static double number_of(const fbp_source *s, int64_t i, int j, fbp_dtype dtype) {
    return rounded(rounded((double)fbp_source_row(s, i) + j / 1000.0, s->data->x_dtype), dtype);
}

static void gather_reads_any_layout(fbp_dtype dtype, const fbp_kernels *k) {
    for (fbp_dtype from = FBP_F32; from <= FBP_F64; from++)
        for (int s = 0; s < CHECK_N_SIZES; s++)
            for (int layout = 0; layout < N_LAYOUTS; layout++) {
                int width = CHECK_SIZES[s];
                fbp_data data = new_dense(layout, from, width);
                for (int ordered = 0; ordered < 2; ordered++) {
                    fbp_source source = fbp_source_of(&data, ordered ? ORDER : NULL);
                    int n = ordered ? N_ORDER - 2 : X_ROWS - 2;
                    void *x = at_end(block[1], n * width, dtype);
                    CHECK(source.kind == &fbp_source_dense, "not dense");
                    source.kind->gather(&source, k, x, 2, n);
                    for (int i = 0; i < n; i++)
                        for (int j = 0; j < width; j++) {
                            double want = number_of(&source, i + 2, j, dtype), got = get(x, i * width + j, dtype);
                            CHECK(got == want, "%s %s from %s, layout %d, width %d, row %d, column %d: %g, not %g",
                                  k->isa, dtype_name(dtype), dtype_name(from), layout, width, i, j, got, want);
                        }
                }
            }
}

enum { CSR_WIDTH = 37, CSR_COUNT = 8 };
static const int32_t CSR_INDPTR[X_ROWS + 1] = {0, 2, 2, 3, 3, 6, 7, CSR_COUNT},
                                         CSR_INDICES[CSR_COUNT] = {0, 36, 17, 5, 5, 6, 36, 0};

static fbp_data new_csr(fbp_dtype from, int wide) {
    static int64_t wide_indptr[X_ROWS + 1], wide_indices[CSR_COUNT];
    for (int i = 0; i <= X_ROWS; i++) wide_indptr[i] = CSR_INDPTR[i];
    for (int i = 0; i < CSR_COUNT; i++) wide_indices[i] = CSR_INDICES[i];
    void *values = at_end(block[0], CSR_COUNT, from);
    for (int i = 0; i < CSR_COUNT; i++) put(values, i, i + 0.5, from);
    return (fbp_data){.rows = X_ROWS,
                      .features = CSR_WIDTH,
                      .csr = 1,
                      .x_dtype = from,
                      .x = values,
                      .wide_index = wide,
                      .indptr = wide ? (const void *)wide_indptr : CSR_INDPTR,
                      .indices = wide ? (const void *)wide_indices : CSR_INDICES,
                      .n_entries = CSR_COUNT,
                      .y_dtype = from};
}

static double csr_number(int64_t row, int j) { /* entries of one place add up */
    double sum = 0;
    for (int e = CSR_INDPTR[row]; e < CSR_INDPTR[row + 1]; e++) sum += CSR_INDICES[e] == j ? e + 0.5 : 0;
    return sum;
}

static void gather_reads_csr(fbp_dtype dtype, const fbp_kernels *k) {
    for (fbp_dtype from = FBP_F32; from <= FBP_F64; from++)
        for (int wide = 0; wide < 2; wide++)
            for (int first = 0; first < 3; first++) {
                fbp_data data = new_csr(from, wide);
                fbp_source source = fbp_source_of(&data, ORDER);
                int n = N_ORDER - first;
                void *x = at_end(block[1], n * CSR_WIDTH, dtype);
                CHECK(source.kind == &fbp_source_csr, "not CSR");
                source.kind->gather(&source, k, x, first, n);
                for (int i = 0; i < n; i++)
                    for (int j = 0; j < CSR_WIDTH; j++) {
                        double want = csr_number(ORDER[first + i], j), got = get(x, i * CSR_WIDTH + j, dtype);
                        CHECK(got == want, "%s %s from %s, row %d, column %d: %g, not %g", k->isa, dtype_name(dtype),
                              dtype_name(from), i, j, got, want);
                    }
            }
}

/* Row 4 has entries 3..6 and row 6 the last: a caller has spoilt one of its columns, or where a row ends. */
static void csr_that_points_outside_is_left_out(fbp_dtype dtype, const fbp_kernels *k) {
    static const int32_t no_column[] = {CSR_WIDTH, -1, INT32_MAX, INT32_MIN};
    static const int64_t no_end[] = {-1, CSR_COUNT + 1, INT32_MAX, INT64_MAX, INT64_MIN};
    int n_columns = sizeof no_column / sizeof *no_column, n_ends = sizeof no_end / sizeof *no_end;
    enum { OUT = 149 }; /* blocks of every number of vectors */
    double zeros[OUT] = {0};
    int32_t indices[CSR_COUNT];
    int64_t indptr[X_ROWS + 1];
    for (int way = 0; way < n_columns + n_ends; way++) {
        int spoilt = way < n_columns ? 4 : 6; /* row */
        fbp_data data = new_csr(dtype, way >= n_columns);
        memcpy(indices, CSR_INDICES, sizeof indices);
        for (int i = 0; i <= X_ROWS; i++) indptr[i] = CSR_INDPTR[i];
        if (way < n_columns) {
            indices[3] = no_column[way];
            data.indices = indices;
        } else {
            indptr[7] = no_end[way - n_columns];
            data.indptr = indptr;
        }
        fbp_source source = fbp_source_of(&data, NULL);
        void *x = at_end(block[1], X_ROWS * CSR_WIDTH, dtype), *z = at_end(block[2], X_ROWS * OUT, dtype);
        void *W = at_end(block[3], CSR_WIDTH * OUT, dtype);
        fill(W, CSR_WIDTH * OUT, 1, dtype);
        source.kind->gather(&source, k, x, 0, X_ROWS);
        k->sparse.forward[dtype](z, &source, 0, X_ROWS, W, zeros, OUT, NULL);
        for (int i = 0; i < X_ROWS; i++) {
            double sum = 0;
            for (int j = 0; j < CSR_WIDTH; j++) {
                double want = csr_number(i, j), got = get(x, i * CSR_WIDTH + j, dtype);
                if (i == 4 && spoilt == 4 && j == CSR_INDICES[3]) want -= 3.5;
                if (i == 6 && spoilt == 6) want = 0;
                CHECK(got == want, "way %d, row %d, column %d: %g, not %g", way, i, j, got, want);
                sum += want;
            }
            for (int j = 0; j < OUT; j++)
                CHECK(get(z, i * OUT + j, dtype) == sum, "way %d, row %d, output %d: not %g", way, i, j, sum);
        }
    }
}

/* ---- batches ------------------------------------------------------------------------------------------------ */

/* What an open batch must say of its X, and what it finds when all of it has been fetched, the last rows first. */
static void check_batch_x(const fbp_source *source, const fbp_kernels *k, int first, int n, int sparse, int pointers,
                          int owned) {
    const fbp_data *d = source->data;
    fbp_dtype dtype = k->dtype;
    int width = d->features, item = (int)item_of(dtype);
    int as_it_is = !d->csr && d->x_dtype == dtype && (width == 1 || d->col_stride == item);
    int in_place = as_it_is && !source->order && d->row_stride == width * item && !owned;
    fbp_layout layout = sparse ? FBP_ENTRIES : in_place || owned || !as_it_is || !pointers ? FBP_ROWS : FBP_POINTERS;
    int64_t room = layout == FBP_POINTERS ? n * (int64_t)(sizeof(void *) / (size_t)item) : (int64_t)n * width;
    fbp_fetched to = {.x = at_end(block[1], room, dtype)};
    fbp_batch batch;
    fbp_batch_open(&batch, source, k, first, n, sparse, pointers, owned, &to);
    CHECK(batch.x.layout == layout && batch.x.rows == n && batch.x.cols == width && batch.x.ld == width &&
              batch.x.dtype == dtype,
          "layout %d, not %d", batch.x.layout, layout);
    CHECK(batch.fetches_x == (!in_place && !sparse), "fetches_x is %d", batch.fetches_x);
    CHECK(!in_place || batch.x.data == (const char *)d->x + first * d->row_stride, "not in place");
    CHECK(in_place || batch.x.data == to.x, "not in the arena");
    for (int r1 = n, r0; r1 > 0; r1 = r0) {
        r0 = (int)random_below(r1);
        fbp_batch_fetch(&batch, r0, r1);
        size_t row = layout == FBP_POINTERS ? sizeof(void *) : (size_t)(width * item), done = (size_t)r0 * row;
        for (size_t b = 0; b < (batch.fetches_x ? done : (size_t)(room * item)); b++)
            CHECK(((unsigned char *)to.x)[b] == 0xff, "rows from %d: byte %zu was written", r0, b);
    }
    for (int r = 0; r < n && !sparse; r++)
        for (int j = 0; j < width; j++) {
            const void *row =
                layout == FBP_POINTERS ? ((const void *const *)batch.x.data)[r] : fbp_element(&batch.x, r, 0);
            double want =
                d->csr ? csr_number(fbp_source_row(source, first + r), j) : number_of(source, first + r, j, dtype);
            CHECK(get(row, j, dtype) == want, "%s %s, row %d, column %d of %d: %g, not %g", k->isa, dtype_name(dtype),
                  r, j, width, get(row, j, dtype), want);
        }
}

static void batches_find_their_rows(fbp_dtype dtype, const fbp_kernels *k) {
    (void)dtype;
    for (int ordered = 0; ordered < 2; ordered++)
        for (int first = 0; first < 3; first += 2)
            for (fbp_dtype from = FBP_F32; from <= FBP_F64; from++) {
                int n = (ordered ? N_ORDER : X_ROWS) - first - (int)random_below(2);
                const int64_t *order = ordered ? ORDER : NULL;
                for (int s = 0; s < CHECK_N_SIZES; s++)
                    for (int layout = 0; layout < N_LAYOUTS; layout++)
                        for (int way = 0; way < 4; way++) {
                            fbp_data data = new_dense(layout, from, CHECK_SIZES[s]);
                            fbp_source source = fbp_source_of(&data, order);
                            check_batch_x(&source, k, first, n, 0, way & 1, way >> 1);
                        }
                for (int wide = 0; wide < 2; wide++)
                    for (int way = 0; way < 8; way++) {
                        fbp_data data = new_csr(from, wide);
                        fbp_source source = fbp_source_of(&data, order);
                        check_batch_x(&source, k, first, n, way & 1, way >> 1 & 1, way >> 2);
                    }
            }
}

/* y of every dtype and labels, and weights, in order and row by row. */
static void batches_fetch_targets_of_every_dtype(fbp_dtype dtype, const fbp_kernels *k) {
    static const double weight[X_ROWS] = {0.5, 1, 2, 0, 3, 4.25, 5};
    for (int s = 0; s < CHECK_N_SIZES; s++)
        for (fbp_dtype from = FBP_F32; from <= FBP_I32; from++)
            for (int way = 0; way < 4; way++) {
                int ordered = way & 1, weighted = way >> 1, labels = from == FBP_I32, out = CHECK_SIZES[s];
                int columns = labels ? 1 : out, count = X_ROWS * columns, first = (int)random_below(3);
                int n = (ordered ? N_ORDER : X_ROWS) - first;
                size_t item = fbp_item(from);
                char *y = (char *)at_end(block[0], (count * (int)item + 7) / 8, FBP_F64);
                y = block[0].high - (size_t)count * item; /* at any element */
                for (int i = 0; i < count; i++) {
                    if (from == FBP_U8)
                        ((uint8_t *)y)[i] = (uint8_t)(i % 2);
                    else if (labels)
                        ((int32_t *)(void *)y)[i] = (i * 3 + 1) % 7;
                    else
                        put(y, i, i % 250, from);
                }
                fbp_data data = {.rows = X_ROWS,
                                 .features = 1,
                                 .outputs = out,
                                 .x_dtype = dtype,
                                 .y_dtype = from,
                                 .y = y,
                                 .weight = weighted ? weight : NULL};
                fbp_source source = fbp_source_of(&data, ordered ? ORDER : NULL);
                int64_t room = labels ? (n * 4 + (int)item_of(dtype) - 1) / (int)item_of(dtype) : (int64_t)n * out;
                fbp_fetched to = {.y = at_end(block[1], room, dtype), .weight = at_end(block[2], n, FBP_F64)};
                fbp_batch batch;
                fbp_batch_open(&batch, &source, k, first, n, 0, 0, 0, &to);
                batch.scale = 0.25;
                batch.clip = 1;
                for (int r1 = n, r0; r1 > 0; r1 = r0) {
                    r0 = (int)random_below(r1);
                    fbp_batch_fetch_targets(&batch, r0, r1);
                    size_t done = (size_t)r0 * (labels ? 4 : (size_t)out * item_of(dtype));
                    for (size_t b = 0; b < done; b++)
                        CHECK(((unsigned char *)to.y)[b] == 0xff, "rows from %d: byte %zu was written", r0, b);
                    for (int r = 0; r < (weighted ? r0 : n); r++)
                        CHECK(isnan(((double *)to.weight)[r]), "rows from %d: weight %d was written", r0, r);
                }
                double sum = 0;
                for (int r = 0; r < n; r++) {
                    fbp_targets t = fbp_batch_targets(&batch, r, out);
                    int64_t at = fbp_source_row(&source, first + r);
                    sum += weighted ? weight[at] : 1;
                    CHECK(t.scale == 0.25 && t.clip == 1, "scale %g, clip %d", t.scale, t.clip);
                    CHECK(!weighted ? !t.weight : *t.weight == weight[at], "weight of row %d", r);
                    CHECK(!labels ? !t.label : *t.label == (at * 3 + 1) % 7, "label of row %d", r);
                    for (int j = 0; j < out && !labels; j++) {
                        double want = (double)((at * out + j) % (from == FBP_U8 ? 2 : 250)), got = get(t.y, j, dtype);
                        CHECK(got == want, "%s %s, row %d, column %d: %g, not %g", k->isa, dtype_name(dtype), r, j, got,
                              want);
                    }
                }
                CHECK(fbp_source_weight(&source, 0, first, n) == sum, "the sum of weights is %g, not %g",
                      fbp_source_weight(&source, 0, first, n), sum);
            }
}

/* ---- the products of a sparse first layer ---------------------------------------------------------------- */

enum { SPARSE_ROWS = 9, SPARSE_COLUMNS = 97, SPARSE_MOST = 2000 };

typedef struct {
    fbp_data data;
    int32_t indptr[SPARSE_ROWS + 1], indices[SPARSE_MOST];
    int64_t wide_indptr[SPARSE_ROWS + 1], wide_indices[SPARSE_MOST];
    double dense[SPARSE_ROWS][SPARSE_COLUMNS], size[SPARSE_ROWS][SPARSE_COLUMNS]; /* the sums, and of absolute values */
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
                         .indices = wide ? (const void *)s->wide_indices : s->indices,
                         .n_entries = count};
}

static const int64_t SPARSE_ORDER[] = {5, 0, 1, 8, 3, 3, 2, 7, 6, 4, 5};
enum { SPARSE_N = sizeof SPARSE_ORDER / sizeof *SPARSE_ORDER };

/* What is left of a column of X: all entries of one place are dropped together. */
static double kept(const fbp_drop *drop, int row, int column) {
    return !drop ? 1 : exact_dropped(drop, row, column) ? 0 : drop->scale;
}

static fbp_drop after(const fbp_drop *drop, int rows) {
    fbp_drop later = drop ? *drop : (fbp_drop){0};
    later.row += rows;
    return later;
}

static void sparse_forward(fbp_dtype dtype, const fbp_kernels *k, const sparse *s, int out, const fbp_drop *drop) {
    double eps = epsilon_of(dtype);
    fbp_source source = fbp_source_of(&s->data, SPARSE_ORDER);
    void *W = at_start(block[1], SPARSE_COLUMNS * out, 1, dtype), *b = at_end(block[2], out, dtype);
    void *z = at_end(block[3], SPARSE_N * out, dtype), *again = at_end(block[4], SPARSE_N * out, dtype);
    fill_random(W, SPARSE_COLUMNS * out, -1, 1, dtype);
    fill_random(b, out, -1, 1, dtype);
    k->sparse.forward[dtype](z, &source, 0, SPARSE_N, W, b, out, drop);
    for (int i = 0; i < SPARSE_N; i++)
        for (int j = 0; j < out; j++) {
            double sum = get(b, j, dtype), size = fabs(sum), got = get(z, i * out + j, dtype);
            for (int c = 0; c < SPARSE_COLUMNS; c++) {
                double w = kept(drop, i, c) * get(W, c * out + j, dtype);
                sum += s->dense[SPARSE_ORDER[i]][c] * w;
                size += s->size[SPARSE_ORDER[i]][c] * fabs(w);
            }
            CHECK(fabs(got - sum) <= 700 * eps * size, "%s %s sparse forward, row %d, out %d of %d: %.9g, not %.9g",
                  k->isa, dtype_name(dtype), i, j, out, got, sum);
        }
    for (int first = 0, n; first < SPARSE_N; first += n) { /* rows cut differently */
        n = 1 + (int)random_below(SPARSE_N - first);
        fbp_drop later = after(drop, first);
        k->sparse.forward[dtype]((char *)again + (size_t)(first * out) * item_of(dtype), &source, first, n, W, b, out,
                                 drop ? &later : NULL);
    }
    CHECK(same_bits(z, again, SPARSE_N * out, dtype), "%s %s: sparse forward depends on the cut", k->isa,
          dtype_name(dtype));
}

static void sparse_weight_grad(fbp_dtype dtype, const fbp_kernels *k, const sparse *s, int out, int panel,
                               int accumulate, const fbp_drop *drop) {
    double eps = epsilon_of(dtype);
    size_t item = item_of(dtype);
    int64_t padded = (int64_t)(out + panel - 1) / panel * panel * SPARSE_N;
    fbp_source source = fbp_source_of(&s->data, SPARSE_ORDER);
    void *dz = at_end(block[1], padded, dtype), *dW = at_end(block[2], SPARSE_COLUMNS * out, dtype);
    void *pieced = at_end(block[3], SPARSE_COLUMNS * out, dtype);
    fill_random(dz, padded, -1, 1, dtype);
    if (accumulate) fill(dW, SPARSE_COLUMNS * out, 2, dtype);
    k->sparse.weight_grad(dW, dz, panel, &source, 0, SPARSE_N, 0, SPARSE_COLUMNS, out, accumulate, drop);
    for (int c = 0; c < SPARSE_COLUMNS; c++)
        for (int j = 0; j < out; j++) {
            double sum = 2.0 * accumulate, size = sum, got = get(dW, c * out + j, dtype);
            for (int i = 0; i < SPARSE_N; i++) {
                double d = kept(drop, i, c) * get(dz, ((int64_t)(j / panel) * SPARSE_N + i) * panel + j % panel, dtype);
                sum += s->dense[SPARSE_ORDER[i]][c] * d;
                size += s->size[SPARSE_ORDER[i]][c] * fabs(d);
            }
            CHECK(fabs(got - sum) <= 200 * eps * size, "%s %s sparse dW[%d,%d of %d]: %.9g, not %.9g", k->isa,
                  dtype_name(dtype), c, j, out, got, sum);
        }
    for (int i0 = 0, i1; i0 < SPARSE_COLUMNS;
         i0 = i1) { /* columns of X cut differently, each part at the forbidden page */
        i1 = i0 + 1 + (int)random_below(64);
        i1 = i1 < SPARSE_COLUMNS ? i1 : SPARSE_COLUMNS;
        void *part = at_end(block[4], (i1 - i0) * out, dtype);
        if (accumulate) fill(part, (i1 - i0) * out, 2, dtype);
        k->sparse.weight_grad(part, dz, panel, &source, 0, SPARSE_N, i0, i1, out, accumulate, drop);
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
        fbp_drop drop = random_drop(i % 3 ? 0.5 : 0.05);
        for (int drops = 0; drops < 2; drops++) {
            sparse_forward(dtype, k, &s, out, drops ? &drop : NULL);
            sparse_weight_grad(dtype, k, &s, out, out, i & 1, drops ? &drop : NULL);
            sparse_weight_grad(dtype, k, &s, out, k->gemm.nr, !(i & 1), drops ? &drop : NULL);
        }
    }
}

/* Entries come FBP_ENTRIES_AT_ONCE at a time, from any of them on. */
static void entries_come_in_pieces(fbp_dtype dtype, const fbp_kernels *k) {
    static sparse s;
    for (int way = 0; way < 4; way++) {
        fbp_dtype from = way & 1 ? FBP_F32 : FBP_F64;
        new_sparse(&s, from, dtype, way >> 1);
        fbp_source source = fbp_source_of(&s.data, SPARSE_ORDER);
        int column[FBP_ENTRIES_AT_ONCE];
        double value[FBP_ENTRIES_AT_ONCE];
        for (int i = 0; i < SPARSE_N; i++) {
            int row = (int)SPARSE_ORDER[i], length = s.indptr[row + 1] - s.indptr[row];
            for (int start = 0; start <= length; start += 1 + (int)random_below(60)) {
                int count = source.kind->entries(&source, dtype, i, start, column, value);
                int want = length - start < FBP_ENTRIES_AT_ONCE ? length - start : FBP_ENTRIES_AT_ONCE;
                CHECK(count == want, "%s: %d entries, not %d", k->isa, count, want);
                for (int e = 0; e < count; e++) {
                    int at = s.indptr[row] + start + e;
                    CHECK(column[e] == s.indices[at] && get(value, e, dtype) == rounded(get(s.data.x, at, from), dtype),
                          "%s: entry %d of row %d", k->isa, start + e, row);
                }
            }
        }
    }
}

/* The layer is its kernels: the rows of a pass that begins anywhere, dz as the net keeps it. */
static void a_sparse_layer_reads_the_rows_of_its_pass(fbp_dtype dtype, const fbp_kernels *k) {
    static sparse s;
    enum { FIRST = 2, N = SPARSE_N - 3, IN = SPARSE_COLUMNS, OUT = 21 };
    new_sparse(&s, FBP_F64, dtype, 0);
    fbp_source source = fbp_source_of(&s.data, SPARSE_ORDER);
    for (int way = 0; way < 4; way++) {
        int packed = way & 1, drops = way >> 1;
        fbp_layer layer;
        fbp_param params[2];
        fbp_net net;
        const int widths[] = {IN, OUT};
        const fbp_config config = {.n_layers = 1, .widths = widths};
        CHECK(fbp_net_init(&net, &layer, params, &config) == FBP_OK, "a net");
        fbp_backend be = {.kernels = k, .param_dtype = k->dtype, .packed = packed};
        fbp_tape tape = {0};
        fbp_pass p = {.net = &net, .be = &be, .tape = &tape, .params = at_end(block[1], IN * OUT + OUT, dtype)};
        fill_random((void *)p.params, IN * OUT + OUT, -1, 1, dtype);
        fbp_batch_open(&p.batch, &source, k, FIRST, N, 1, 0, 0, &tape.fetched);
        layer.kind = fbp_layer_kind_of(&be, &layer, 0, 1, 0);
        CHECK(layer.kind == &fbp_layer_sparse && layer.kind->reads_entries, "%s", layer.kind->name);

        fbp_drop drop;
        layer.dropout = 0.3;
        p.drops = drops;
        p.drop_key = random_bits();
        CHECK(fbp_pass_drop(&p, 0, 0, &drop) == drops && drop.row == FIRST, "what is dropped");

        const void *W = p.params, *b = fbp_at(p.params, IN * OUT, dtype);
        void *z = at_end(block[2], N * OUT, dtype), *want = at_end(block[3], N * OUT, dtype);
        k->sparse.forward[dtype](want, &source, FIRST, N, W, b, OUT, drops ? &drop : NULL);
        layer.kind->forward(&p, 0, z, 5, N);
        layer.kind->forward(&p, 0, z, 0, 5);
        CHECK(same_bits(z, want, N * OUT, dtype), "%s %s: forward", k->isa, dtype_name(dtype));

        fbp_operand dz = fbp_pass_dz(&p, 0);
        int64_t count = N * (packed ? fbp_whole(OUT, dz.nr) : OUT);
        tape.dz_top = at_end(block[4], count, dtype);
        fill_random(tape.dz_top, count, -1, 1, dtype);
        void *dW = at_end(block[2], 40 * OUT, dtype), *same = at_end(block[3], 40 * OUT, dtype);
        fill(dW, 40 * OUT, 3, dtype);
        fill(same, 40 * OUT, 3, dtype);
        k->sparse.weight_grad(same, tape.dz_top, packed ? dz.nr : OUT, &source, FIRST, N, 50, 90, OUT, 1,
                              drops ? &drop : NULL);
        layer.kind->weight_grad(&p, 0, dW, 50, 90, 1);
        CHECK(same_bits(dW, same, 40 * OUT, dtype), "%s %s: weight gradient", k->isa, dtype_name(dtype));
    }
}

int main(void) {
    for (int i = 0; i < 5; i++) block[i] = guarded_new(SPARSE_COLUMNS * CHECK_LARGEST * sizeof(double));
    at_every_level(gather_reads_any_layout);
    at_every_level(gather_reads_csr);
    at_every_level(csr_that_points_outside_is_left_out);
    at_every_level(batches_find_their_rows);
    at_every_level(batches_fetch_targets_of_every_dtype);
    at_every_level(sparse_products_are_the_dense_ones);
    at_every_level(entries_come_in_pieces);
    at_every_level(a_sparse_layer_reads_the_rows_of_its_pass);
    for (int i = 0; i < 5; i++) guarded_free(block[i]);
    return check_report("rows");
}
