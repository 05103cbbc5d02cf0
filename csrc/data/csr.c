/* A CSR X: values in float32 or float64, indices of 32 or 64 bits. Entries are copied, a few at a time, into one type
 * of index and value, so whoever reads them has one loop for all kinds of CSR.
 * The caller may change X while it is read. So indptr is read once and a row of other entries than there are
 * has none, and whoever uses a column of the copy compares it with the number of features first. */
#include <string.h>

#include "data/source.h"

/* to[k] = from[first + k] for k in 0..count, converted */
#define COPY(name, TO, FROM)                                                                  \
    static void name(void *to, const void *from, int64_t first, int count) {                  \
        for (int k = 0; k < count; k++) ((TO *)to)[k] = (TO)((const FROM *)from)[first + k];  \
    }
COPY(copy_i32, int, int32_t)
COPY(copy_i64, int, int64_t)
COPY(copy_f32_f32, float, float)
COPY(copy_f32_f64, double, float)
COPY(copy_f64_f32, float, double)
COPY(copy_f64_f64, double, double)

/* volatile: what is checked is what is used */
static int64_t begin_of(const fbp_data *d, int64_t row) {
    return d->wide_index ? ((volatile const int64_t *)d->indptr)[row] : ((volatile const int32_t *)d->indptr)[row];
}

static int entries(const fbp_source *s, fbp_dtype dtype, int64_t i, int64_t start, int *column, void *value) {
    static void (*const copy[2][2])(void *, const void *, int64_t, int) = {{copy_f32_f32, copy_f32_f64},
                                                                           {copy_f64_f32, copy_f64_f64}};
    const fbp_data *d = s->data;
    int64_t row = fbp_source_row(s, i);
    uint64_t begin = (uint64_t)begin_of(d, row) + (uint64_t)start, end = (uint64_t)begin_of(d, row + 1);
    if (begin > end || end > (uint64_t)d->n_entries) return 0; /* also what is negative */
    int64_t first = (int64_t)begin;
    int count = (int)fbp_min((int64_t)end - first, FBP_ENTRIES_AT_ONCE);
    (d->wide_index ? copy_i64 : copy_i32)(column, d->indices, first, count);
    copy[d->x_dtype == FBP_F64][dtype == FBP_F64](value, d->x, first, count);
    return count;
}

/* Entries of one place add up. */
static void gather(const fbp_source *s, const fbp_kernels *kernels, void *x, int64_t first, int64_t n) {
    int column[FBP_ENTRIES_AT_ONCE], count;
    unsigned features = (unsigned)s->data->features;
    double value[FBP_ENTRIES_AT_ONCE];
    memset(x, 0, (size_t)n * (size_t)features * fbp_item(kernels->dtype));
    for (int64_t i = 0; i < n; i++)
        for (int64_t start = 0;; start += count) {
            count = entries(s, kernels->dtype, first + i, start, column, value);
            if (kernels->dtype == FBP_F32)
                for (int k = 0; k < count; k++) {
                    if ((unsigned)column[k] < features) ((float *)x)[i * features + column[k]] += ((float *)value)[k];
                }
            else
                for (int k = 0; k < count; k++)
                    if ((unsigned)column[k] < features) ((double *)x)[i * features + column[k]] += value[k];
            if (count < FBP_ENTRIES_AT_ONCE) break;
        }
}

const fbp_source_kind fbp_source_csr = {.gather = gather, .entries = entries};
