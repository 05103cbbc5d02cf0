/* The products of a first layer whose input is CSR rows, touching the non-zeros only. Entries are copied in
 * small chunks into one type of index and value, so there is one loop for all four kinds of CSR. */

/* Entries `start` and on of a row: columns and values, at most FBP_CSR_CHUNK; returns how many. */
static int FN(csr_chunk)(const fbp_data *d, int64_t row, int64_t start, int *column, REAL *value) {
    int64_t first = d->wide_index ? ((const int64_t *)d->indptr)[row] : ((const int32_t *)d->indptr)[row];
    int64_t end =
        d->wide_index ? ((const int64_t *)d->indptr)[row + 1] : ((const int32_t *)d->indptr)[row + 1];
    first += start;
    int count = end - first < FBP_CSR_CHUNK ? (int)(end - first) : FBP_CSR_CHUNK;
    if (d->wide_index)
        for (int k = 0; k < count; k++) column[k] = (int)((const int64_t *)d->indices)[first + k];
    else
        for (int k = 0; k < count; k++) column[k] = ((const int32_t *)d->indices)[first + k];
    if (d->x_dtype == FBP_F32)
        for (int k = 0; k < count; k++) value[k] = (REAL)((const float *)d->x)[first + k];
    else
        for (int k = 0; k < count; k++) value[k] = (REAL)((const double *)d->x)[first + k];
    return count;
}

/* z(nv vectors of a row) += sum over entries of value * W(column, the same columns) */
static inline
    __attribute__((always_inline)) void FN(csr_accumulate)(const int nv, REAL *z, const REAL *W, int out,
                                                           const int *column, const REAL *value, int count) {
    FN(vec) acc[8];
    FBP_UNROLL for (int v = 0; v < nv; v++) acc[v] = *(const FN(loose) *)(z + v * LANES);
    for (int k = 0; k < count; k++) {
        const REAL *w = W + (int64_t)column[k] * out;
        FBP_UNROLL for (int v = 0; v < nv; v++) acc[v] += value[k] * *(const FN(loose) *)(w + v * LANES);
    }
    FBP_UNROLL for (int v = 0; v < nv; v++) *(FN(loose) *)(z + v * LANES) = acc[v];
}

/* z(n,out) = X W + b */
static void FN(csr_forward)(void *z_, const fbp_rows *rows, const void *W_, const void *b, int64_t n, int out) {
    const REAL *W = W_;
    int column[FBP_CSR_CHUNK];
    REAL value[FBP_CSR_CHUNK];
    for (int64_t i = 0; i < n; i++) {
        REAL *z = (REAL *)z_ + i * out;
        memcpy(z, b, (size_t)out * sizeof(REAL));
        for (int64_t start = 0;; start += FBP_CSR_CHUNK) {
            int count = FN(csr_chunk)(rows->data, fbp_row_of(rows, i), start, column, value), j = 0;
            for (; j + 8 * LANES <= out; j += 8 * LANES)
                FN(csr_accumulate)(8, z + j, W + j, out, column, value, count);
            for (; j + 4 * LANES <= out; j += 4 * LANES)
                FN(csr_accumulate)(4, z + j, W + j, out, column, value, count);
            for (; j + LANES <= out; j += LANES) FN(csr_accumulate)(1, z + j, W + j, out, column, value, count);
            for (; j < out; j++)
                for (int k = 0; k < count; k++) z[j] += value[k] * W[(int64_t)column[k] * out + j];
            if (count < FBP_CSR_CHUNK)
                break;
        }
    }
}

/* dW(i0..i1,out) (+)= X[:, i0:i1]^T dz. dz is in panels `panel` columns wide (panel == out: row-major). */
static void FN(csr_weight_grad)(void *dW_, const void *dz, int panel, const fbp_rows *rows, int i0, int i1,
                                int64_t n, int out, int accumulate) {
    REAL *dW = dW_;
    int column[FBP_CSR_CHUNK];
    REAL value[FBP_CSR_CHUNK];
    if (!accumulate)
        memset(dW, 0, (size_t)(i1 - i0) * (size_t)out * sizeof(REAL));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t start = 0;; start += FBP_CSR_CHUNK) {
            int count = FN(csr_chunk)(rows->data, fbp_row_of(rows, i), start, column, value);
            for (int k = 0; k < count; k++) {
                if (column[k] < i0 || column[k] >= i1)
                    continue;
                REAL *restrict w = dW + (int64_t)(column[k] - i0) * out;
                const REAL *restrict d = (const REAL *)dz + i * panel;
                for (int j0 = 0; j0 < out; j0 += panel, w += panel, d += n * panel) {
                    int cols = out - j0 < panel ? out - j0 : panel;
                    for (int j = 0; j < cols; j++) w[j] += value[k] * d[j];
                }
            }
            if (count < FBP_CSR_CHUNK)
                break;
        }
    }
}
