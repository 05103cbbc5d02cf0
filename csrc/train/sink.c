/* The three sinks of a gradient. */
#include "train/train.h"

void fbp_share_tiles(const fbp_trainer *tr, const fbp_layer *layer, int t, int64_t *lo, int64_t *hi) {
    fbp_share(layer->n_tiles, t, tr->n_threads, lo, hi);
}

void fbp_share_columns(const fbp_trainer *tr, const fbp_layer *layer, int t, int64_t *lo, int64_t *hi) {
    fbp_share(fbp_ceil_div(layer->out, FBP_BIAS_COLUMNS), t, tr->n_threads, lo, hi);
    *lo = fbp_min(*lo * FBP_BIAS_COLUMNS, layer->out);
    *hi = fbp_min(*hi * FBP_BIAS_COLUMNS, layer->out);
}

int64_t fbp_joined_end(const fbp_layer *layer, int64_t lo, int64_t hi) {
    return lo + (hi - lo) / fbp_ceil_div(hi - lo, layer->joined);
}

/* Updates count numbers of one row of the table, from `first` on; returns decay times their sum of squares before. */
static double update(const fbp_job *j, const fbp_param *param, int64_t first, int64_t count, void *grad,
                     const fbp_update *u) {
    const fbp_kernels *kernels = j->tr->be.kernels;
    fbp_update own = *u;
    own.rate *= param->rate;
    own.alpha *= param->decay;
    void *at[3] = {j->epoch->params, j->epoch->state[0], j->epoch->state[1]};
    for (int i = 0; i < 3; i++) at[i] = at[i] ? fbp_at(at[i], param->offset + first, kernels->dtype) : NULL;
    return param->decay * kernels->optim.update[j->tr->optimizer](at[0], grad, at[1], at[2], count, &own);
}

/* Tile by tile, for the sums of squares; then the copies of W follow. */
static void take_weights(const fbp_job *j, const fbp_layer *layer, int64_t lo, int64_t hi, void *grad,
                         const fbp_update *u) {
    const fbp_trainer *tr = j->tr;
    int i0 = fbp_tile_row(layer, lo), i1 = i0;
    char *dW = grad;
    for (int64_t tile = lo; tile < hi; tile++) {
        int row = i1;
        i1 = fbp_tile_row(layer, tile + 1);
        int64_t count = (int64_t)(i1 - row) * layer->out;
        tr->square_part[layer->tile0 + tile] = update(j, layer->W, (int64_t)row * layer->out, count, dW, u);
        dW += count * (int64_t)fbp_item(tr->be.kernels->dtype);
    }
    if (j->sink->updates && layer->kind->pack)
        layer->kind->pack(&tr->be, layer, fbp_at(j->epoch->params, layer->W->offset, tr->be.kernels->dtype), i0, i1);
}

static void take_biases(const fbp_job *j, const fbp_layer *layer, int64_t lo, int64_t hi, void *grad,
                        const fbp_update *u) {
    update(j, layer->b, lo, hi - lo, grad, u);
}

static void *in_part(const fbp_job *j, int t, int64_t offset) {
    (void)offset;
    return j->tr->part + (size_t)t * j->tr->part_bytes;
}

static void *in_vector(const fbp_job *j, int t, int64_t offset) {
    (void)t;
    return fbp_at(j->grad, offset, j->tr->be.kernels->dtype);
}

/* A barrier has passed: all of the gradient is there, and no thread reads W any more. */
static void finish(const fbp_job *j, int t, const fbp_update *u) {
    const fbp_trainer *tr = j->tr;
    for (int l = tr->net.n_layers - 1; l >= 0; l--) {
        const fbp_layer *layer = &tr->net.layers[l];
        int64_t lo, hi;
        for (fbp_share_tiles(tr, layer, t, &lo, &hi); lo < hi;) {
            int64_t end = fbp_joined_end(layer, lo, hi);
            int64_t first = layer->W->offset + (int64_t)fbp_tile_row(layer, lo) * layer->out;
            take_weights(j, layer, lo, end, in_vector(j, t, first), u);
            lo = end;
        }
        fbp_share_columns(tr, layer, t, &lo, &hi);
        if (lo < hi) take_biases(j, layer, lo, hi, in_vector(j, t, layer->b->offset + lo), u);
    }
}

const fbp_sink fbp_sink_update = {
    .updates = 1, .place = in_part, .take_weights = take_weights, .take_biases = take_biases};
const fbp_sink fbp_sink_keep = {.place = in_vector, .take_weights = take_weights, .take_biases = take_biases};
const fbp_sink fbp_sink_reduce = {.updates = 1, .place = in_vector, .finish = finish};
