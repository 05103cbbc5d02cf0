/* The rows of a tile out of the caller's X and y: converted, in visiting order. Included by
 * kernels_template.h. */

/* Adding one to the bits of an exponent that is all ones carries into the sign. Integers, because arithmetic on
 * denormals would be slow. */
static int FN(all_finite)(const void *x_, int64_t count, int64_t stride) {
    const FN(bits) one = (FN(bits))1 << MANTISSA, sign = (FN(bits))1 << (8 * sizeof(REAL) - 1),
                   exponent = sign - one;
    const REAL *x = x_;
    FN(bits) found = 0;
    if (stride == (int64_t)sizeof(REAL)) {
        for (int64_t i = 0; i < count; i++) found |= (FN(to_bits)(x[i]) & exponent) + one;
    } else {
        for (int64_t i = 0; i < count; i++)
            found |=
                (FN(to_bits)(*(const REAL *)(const void *)((const char *)x_ + i * stride)) & exponent) + one;
    }
    return !(found & sign);
}

#define GATHER_DENSE(SOURCE)                                                                           \
    for (int64_t i = 0; i < n; i++) {                                                                  \
        const char *row = (const char *)d->x + fbp_row_of(rows, i) * d->row_stride;                    \
        if (i + FBP_GATHER_AHEAD < n) {                                                                \
            const char *next = (const char *)d->x + fbp_row_of(rows, i + FBP_GATHER_AHEAD) * d->row_stride; \
            for (int64_t k = 0; k < width * (int64_t)sizeof(SOURCE) && k < 4096; k += 64)              \
                __builtin_prefetch(next + k);                                                          \
        }                                                                                              \
        REAL *x = (REAL *)x_ + i * width;                                                              \
        if (d->col_stride == (int64_t)sizeof(SOURCE)) {                                                \
            const SOURCE *s = (const SOURCE *)row;                                                     \
            if (FBP_PARTS && sizeof(SOURCE) == sizeof(REAL) && width <= LANES)                                      \
                FN(store_part)(x, FN(load_part)((const REAL *)(const void *)s, width), width);         \
            else                                                                                       \
                FBP_IVDEP for (int j = 0; j < width; j++) x[j] = (REAL)s[j];                           \
        } else {                                                                                       \
            for (int j = 0; j < width; j++) x[j] = (REAL)*(const SOURCE *)(row + j * d->col_stride);   \
        }                                                                                              \
    }

#define GATHER_CSR(SOURCE, INDEX)                                                                      \
    for (int64_t i = 0; i < n; i++) {                                                                  \
        const INDEX *indptr = d->indptr, *column = d->indices;                                         \
        int64_t row = fbp_row_of(rows, i);                                                             \
        REAL *x = (REAL *)x_ + i * width;                                                              \
        memset(x, 0, (size_t)width * sizeof(REAL));                                                    \
        for (INDEX k = indptr[row]; k < indptr[row + 1]; k++) x[column[k]] += (REAL)((const SOURCE *)d->x)[k]; \
    }

static void FN(gather)(void *x_, const fbp_rows *rows, int64_t n, int width) {
    const fbp_data *d = rows->data;
    if (!d->csr && d->x_dtype == FBP_F32) {
        GATHER_DENSE(float)
    } else if (!d->csr) {
        GATHER_DENSE(double)
    } else if (d->wide_index && d->x_dtype == FBP_F32) {
        GATHER_CSR(float, int64_t)
    } else if (d->wide_index) {
        GATHER_CSR(double, int64_t)
    } else if (d->x_dtype == FBP_F32) {
        GATHER_CSR(float, int32_t)
    } else {
        GATHER_CSR(double, int32_t)
    }
}
#undef GATHER_DENSE
#undef GATHER_CSR

#define GATHER_TARGETS(SOURCE)                                                                         \
    for (int64_t i = 0; i < n; i++) {                                                                  \
        const SOURCE *s = (const SOURCE *)rows->data->y + fbp_row_of(rows, i) * out;                   \
        for (int j = 0; j < out; j++) y[i * out + j] = (REAL)s[j];                                     \
    }
static void FN(gather_targets)(void *y_, const fbp_rows *rows, int64_t n, int out) {
    REAL *y = y_;
    if (rows->data->y_dtype == FBP_F32) {
        GATHER_TARGETS(float)
    } else if (rows->data->y_dtype == FBP_F64) {
        GATHER_TARGETS(double)
    } else {
        GATHER_TARGETS(uint8_t)
    }
}
#undef GATHER_TARGETS
