/* The rows of one pass, fetched from their source into the arena. Threads fetch their own rows. */
#include "data/source.h"

double fbp_source_weight(const fbp_source *s, double sum, int64_t first, int64_t n) {
    const double *weight = s->data->weight;
    if (!weight) return sum + (double)n;
    for (int64_t i = first; i < first + n; i++) sum += weight[fbp_source_row(s, i)];
    return sum;
}

void fbp_batch_open(fbp_batch *batch, const fbp_source *source, const fbp_kernels *kernels, int64_t first, int64_t n,
                    int sparse, int reads_pointers, int owned, const fbp_fetched *to) {
    const fbp_data *data = source->data;
    fbp_dtype dtype = kernels->dtype;
    *batch = (fbp_batch){.source = source, .first = first, .n = n, .kernels = kernels, .to = *to};
    batch->x = fbp_rows(to->x, dtype, n, data->features);
    if (sparse) {
        batch->x.layout = FBP_ENTRIES;
    } else if (!owned && source->kind->row && source->kind->are_consecutive(source, dtype)) {
        batch->x.data = (void *)source->kind->row(source, dtype, first);
    } else {
        batch->fetches_x = 1;
        if (!owned && reads_pointers && source->kind->row && source->kind->row(source, dtype, first))
            batch->x.layout = FBP_POINTERS; /* 8 bytes each; x has room for rows of FBP_LONG_ROW */
    }
}

void fbp_batch_fetch_targets(const fbp_batch *batch, int64_t r0, int64_t r1) {
    const fbp_source *s = batch->source;
    const fbp_data *d = s->data;
    if (d->weight)
        for (int64_t r = r0; r < r1; r++)
            ((double *)batch->to.weight)[r] = d->weight[fbp_source_row(s, batch->first + r)];
    if (!d->y) return;
    if (d->y_dtype == FBP_I32) {
        for (int64_t r = r0; r < r1; r++)
            ((int32_t *)batch->to.y)[r] = ((const int32_t *)d->y)[fbp_source_row(s, batch->first + r)];
        return;
    }
    int64_t item = (int64_t)fbp_item(d->y_dtype);
    fbp_strided y = {d->y, d->y_dtype, d->outputs * item, item};
    batch->kernels->elementwise.gather(fbp_at(batch->to.y, r0 * d->outputs, batch->kernels->dtype), &y, s->order,
                                       batch->first + r0, r1 - r0, d->outputs);
}

void fbp_batch_fetch(const fbp_batch *batch, int64_t r0, int64_t r1) {
    const fbp_source *s = batch->source;
    if (batch->fetches_x && batch->x.layout == FBP_POINTERS)
        for (int64_t r = r0; r < r1; r++)
            ((const void **)batch->to.x)[r] = s->kind->row(s, batch->kernels->dtype, batch->first + r);
    else if (batch->fetches_x)
        s->kind->gather(s, batch->kernels, fbp_element(&batch->x, r0, 0), batch->first + r0, r1 - r0);
}

fbp_targets fbp_batch_targets(const fbp_batch *batch, int64_t r, int columns) {
    const fbp_data *d = batch->source->data;
    fbp_targets t = {.scale = batch->scale, .clip = batch->clip};
    t.weight = d->weight ? (double *)batch->to.weight + r : NULL;
    t.label = d->y_dtype == FBP_I32 ? (int32_t *)batch->to.y + r : NULL;
    t.y = fbp_at(batch->to.y, r * columns, batch->kernels->dtype);
    return t;
}
