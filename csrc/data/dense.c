/* A dense X of any strides, float32 or float64. */
#include "data/source.h"

static void gather(const fbp_source *s, const fbp_kernels *kernels, void *x, int64_t first, int64_t n) {
    const fbp_data *d = s->data;
    fbp_strided from = {d->x, d->x_dtype, d->row_stride, d->col_stride};
    kernels->elementwise.gather(x, &from, s->order, first, n, d->features);
}

static const void *row(const fbp_source *s, fbp_dtype dtype, int64_t i) {
    const fbp_data *d = s->data;
    int as_it_is = d->x_dtype == dtype && (d->features == 1 || d->col_stride == (int64_t)fbp_item(dtype));
    return as_it_is ? (const char *)d->x + fbp_source_row(s, i) * d->row_stride : NULL;
}

static int are_consecutive(const fbp_source *s, fbp_dtype dtype) {
    return !s->order && s->data->row_stride == s->data->features * (int64_t)fbp_item(dtype) && row(s, dtype, 0);
}

const fbp_source_kind fbp_source_dense = {.gather = gather, .row = row, .are_consecutive = are_consecutive};
