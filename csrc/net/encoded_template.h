/* The first layer of an encoded table: see fbp_column. A cell at p = k + f is (1 - f) T_k + f T_{k+1} of its column's
 * rows of a table T(in,out), which is made of W once per update: so a column costs two rows of T, however many knots it
 * has. The gradient of T is summed in the place of dW and becomes dW when it is whole. Included by kernels/template.h. */

/* Where the cells of a row lie in T: first the `pairs` between two rows, then what lies on one. */
typedef struct {
    int64_t at[FBP_CELLS_AT_ONCE]; /* row of T times its width */
    REAL share[FBP_CELLS_AT_ONCE]; /* f, of the next row */
    int pairs, all;
} FN(cells);

/* Columns c0..c1 of a row x, those of T's rows i0..i1. A number that is no place of its column contributes nothing. */
static inline void FN(locate)(FN(cells) *to, const REAL *x, const fbp_column *columns, int c0, int c1, int i0, int i1,
                              int out) {
    int64_t single[FBP_CELLS_AT_ONCE];
    int singles = 0;
    to->pairs = 0;
    for (int c = c0; c < c1; c++) {
        const REAL p = x[c];
        if (!(p >= 0 && p < (REAL)columns[c].rows)) continue; /* nor NaN */
        const int k = (int)p, row = columns[c].first + k;
        const REAL f = p - (REAL)k;
        if (row < i0 || row >= i1) continue;
        if (f > 0 && k + 1 < columns[c].knots) {
            to->at[to->pairs] = (int64_t)row * out;
            to->share[to->pairs++] = f;
        } else {
            single[singles++] = (int64_t)row * out;
        }
    }
    to->all = to->pairs + singles;
    for (int i = 0; i < singles; i++) to->at[to->pairs + i] = single[i];
}

/* z(nv vectors of a row) += what the cells say */
static inline __attribute__((always_inline)) void FN(add_cells)(const int nv, REAL *z, const REAL *T, int out,
                                                                const FN(cells) *cells) {
    FN(vec) acc[8];
    int c = 0;
    EACH(v, nv) acc[v] = AT(z, v * LANES);
    for (; c < cells->pairs; c++) {
        const REAL *t = T + cells->at[c], f = cells->share[c];
        EACH(v, nv) acc[v] += (1 - f) * AT(t, v * LANES) + f * AT(t, out + v * LANES);
    }
    for (; c < cells->all; c++)
        EACH(v, nv) acc[v] += AT(T + cells->at[c], v * LANES);
    EACH(v, nv) AT(z, v * LANES) = acc[v];
}

static void FN(encoded_forward)(void *z_, const void *x_, int64_t ldx, int64_t n, const fbp_encoding *e, const void *T_,
                                const void *b, int out) {
    const REAL *T = T_;
    FN(cells) cells;
    int in = fbp_encoding_rows(e);
    for (int64_t i = 0; i < n; i++) {
        REAL *z = (REAL *)z_ + i * out;
        memcpy(z, b, (size_t)out * sizeof *z);
        for (int c = 0; c < e->n_columns; c += FBP_CELLS_AT_ONCE) {
            int j = 0, end = e->n_columns - c < FBP_CELLS_AT_ONCE ? e->n_columns : c + FBP_CELLS_AT_ONCE;
            FN(locate)(&cells, (const REAL *)x_ + i * ldx, e->columns, c, end, 0, in, out);
            for (; j + 8 * LANES <= out; j += 8 * LANES) FN(add_cells)(8, z + j, T + j, out, &cells);
            for (; j + LANES <= out; j += LANES) FN(add_cells)(1, z + j, T + j, out, &cells);
            for (; j < out; j++)
                for (int k = 0; k < cells.all; k++) {
                    const REAL *t = T + cells.at[k] + j, f = k < cells.pairs ? cells.share[k] : 0;
                    z[j] += k < cells.pairs ? (1 - f) * t[0] + f * t[out] : t[0];
                }
        }
    }
}

/* The columns that have rows of i0..i1 */
static inline void FN(columns_of)(const fbp_encoding *e, int i0, int i1, int *c0, int *c1) {
    const fbp_column *columns = e->columns;
    for (*c0 = 0; *c0 < e->n_columns && columns[*c0].first + columns[*c0].rows <= i0;) ++*c0;
    for (*c1 = *c0; *c1 < e->n_columns && columns[*c1].first < i1;) ++*c1;
}

/* t += (1 - f) d, and if f > 0 the next row += f d. d comes in pieces of nr numbers, `step` apart. */
static inline void FN(spread)(REAL *t, int out, REAL f, const REAL *d, int nr, int64_t step) {
    for (int j0 = 0; j0 < out; j0 += nr, t += nr, d += step) {
        const int cols = out - j0 < nr ? out - j0 : nr;
        int j = 0;
        for (; j + LANES <= cols; j += LANES) {
            AT(t, j) += (1 - f) * AT(d, j);
            if (f > 0) AT(t, out + j) += f * AT(d, j);
        }
        for (; j < cols; j++) {
            t[j] += (1 - f) * d[j];
            if (f > 0) t[out + j] += f * d[j];
        }
    }
}

/* dT(i0..i1,out) (+)= what the cells of rows say; dz in panels nr columns wide, or row-major with nr == out. */
static void FN(encoded_weight_grad)(void *dT_, const void *dz, int nr, const void *x_, int64_t ldx, int64_t n,
                                    const fbp_encoding *e, int i0, int i1, int out, int accumulate) {
    REAL *dT = dT_;
    FN(cells) cells;
    int c0, c1;
    FN(columns_of)(e, i0, i1, &c0, &c1);
    if (!accumulate) memset(dT, 0, (size_t)(i1 - i0) * (size_t)out * sizeof(REAL));
    for (int64_t i = 0; i < n; i++)
        for (int c = c0; c < c1; c += FBP_CELLS_AT_ONCE) {
            int end = c1 - c < FBP_CELLS_AT_ONCE ? c1 : c + FBP_CELLS_AT_ONCE, k = 0;
            FN(locate)(&cells, (const REAL *)x_ + i * ldx, e->columns, c, end, i0, i1, out);
            const REAL *d = (const REAL *)dz + i * nr;
            for (; k < cells.pairs; k++)
                FN(spread)(dT + cells.at[k] - (int64_t)i0 * out, out, cells.share[k], d, nr, n * nr);
            for (; k < cells.all; k++) FN(spread)(dT + cells.at[k] - (int64_t)i0 * out, out, 0, d, nr, n * nr);
        }
}

static inline REAL FN(scale_of)(const REAL *s, int row) { return s ? s[row] : 1; }

/* A numeric column's rows, one from the row before: T_k is the sum of the bins below k, and raw_k times the row of the
 * raw number. */
static void FN(tabulate_knots)(REAL *T, const REAL *W, const REAL *s, const fbp_column *column, int out) {
    const REAL *raw = W, s_raw = FN(scale_of)(s, 0), g = (REAL)column->raw[0] * s_raw;
    for (int j = 0; j < out; j++) T[j] = g * raw[j];
    for (int k = 1; k < column->knots; k++) {
        const REAL scale = FN(scale_of)(s, k), step = (REAL)(column->raw[k] - column->raw[k - 1]) * s_raw;
        const REAL *restrict w = W + (int64_t)k * out, *restrict before = T + (int64_t)(k - 1) * out;
        REAL *restrict t = T + (int64_t)k * out;
        for (int j = 0; j < out; j++) t[j] = before[j] + scale * w[j] + step * raw[j];
    }
}

/* Rows i0..i1 of T from those of W, each multiplied with its scale s, if there is one. */
static void FN(encoded_tabulate)(void *T_, const void *W_, const void *s_, const fbp_encoding *e, int i0, int i1,
                                 int out) {
    REAL *T = T_;
    const REAL *W = W_, *scales = s_;
    int c0, c1;
    FN(columns_of)(e, i0, i1, &c0, &c1);
    for (int c = c0; c < c1; c++) {
        const fbp_column *column = &e->columns[c];
        int from = column->first > i0 ? column->first : i0, to = column->first + column->rows;
        to = to < i1 ? to : i1;
        if (column->knots) {
            const int64_t first = (int64_t)column->first * out;
            FN(tabulate_knots)(T + first, W + first, scales ? scales + column->first : NULL, column, out);
            from = column->first + column->knots; /* what is missing */
        }
        for (int k = from; k < to; k++) {
            const REAL s = FN(scale_of)(scales, k);
            for (int j = 0; j < out; j++) T[(int64_t)k * out + j] = s * W[(int64_t)k * out + j];
        }
    }
}

/* A numeric column's rows: dT becomes dJ/d(s W), from the last knot to the first. The row of bin k - 1 is S_k, the sum
 * of dT from knot k on; that of the raw number is sum_k raw_k dT_k = raw_0 dT_0 + raw_1 S_1 + sum (raw_k - raw_{k-1}) S_k. */
static void FN(sum_knots)(REAL *dT, const fbp_column *column, int out) {
    const REAL g = (REAL)column->raw[0];
    for (int j = 0; j < out; j++) dT[j] *= g;
    for (int k = column->knots - 1; k >= 1; k--) {
        const REAL step = (REAL)(column->raw[k] - (k > 1 ? column->raw[k - 1] : 0));
        REAL *restrict raw = dT, *restrict d = dT + (int64_t)k * out;
        if (k < column->knots - 1)
            for (int j = 0; j < out; j++) d[j] += d[out + j];
        for (int j = 0; j < out; j++) raw[j] += step * d[j];
    }
}

/* Rows i0..i1 of the gradient of T become those of W, and of the scales s, if there are any. */
static void FN(encoded_finish)(void *dW_, void *ds_, const void *W_, const void *s_, const fbp_encoding *e, int i0,
                               int i1, int out) {
    REAL *dW = dW_, *ds = ds_;
    int c0, c1;
    FN(columns_of)(e, i0, i1, &c0, &c1);
    for (int c = c0; c < c1; c++)
        if (e->columns[c].knots) FN(sum_knots)(dW + (int64_t)(e->columns[c].first - i0) * out, &e->columns[c], out);
    for (int i = i0; ds && i < i1; i++, dW += out) {
        const REAL *w = (const REAL *)W_ + (int64_t)i * out, s = ((const REAL *)s_)[i];
        FN(vec) dots = {0};
        REAL dot = 0;
        int j = 0;
        for (; j + LANES <= out; j += LANES) {
            dots += AT(dW, j) * AT(w, j);
            AT(dW, j) *= s;
        }
        for (; j < out; j++) {
            dot += dW[j] * w[j];
            dW[j] *= s;
        }
        ds[i - i0] = dot + (REAL)FN(sum_lanes)(dots);
    }
}
