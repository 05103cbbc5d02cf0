/* The three sinks of a gradient. */
#include <math.h>

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

/* Numbers of one row of the table, from `first` on, in each flat vector that an update reads or writes; NULL for those
 * that are not there. */
typedef struct {
    void *params, *state[2], *ema;
} slice;

static slice slice_of(const fbp_job *j, const fbp_param *param, int64_t first) {
    const fbp_epoch *e = j->epoch;
    int64_t offset = param->offset + first;
    fbp_dtype dtype = j->tr->be.kernels->dtype;
    return (slice){.params = fbp_at(e->params, offset, dtype),
                   .state = {e->state[0] ? fbp_at(e->state[0], offset, dtype) : NULL,
                             e->state[1] ? fbp_at(e->state[1], offset, dtype) : NULL},
                   .ema = e->ema ? fbp_at(e->ema, offset, dtype) : NULL};
}

/* Updates count numbers of one row of the table, from `first` on; returns decay times their sum of squares before. */
static double update(const fbp_job *j, const fbp_param *param, int64_t first, int64_t count, void *grad,
                     const fbp_update *u) {
    const fbp_optim_kernels *kernels = &j->tr->be.kernels->optim;
    const fbp_optimizer optimizer = j->tr->optimizer;
    const fbp_dtype dtype = j->tr->be.kernels->dtype;
    if (optimizer == FBP_OPT_none && u->alpha == 0) return 0; /* the gradient is as it is */
    slice s = slice_of(j, param, first);
    fbp_update own = *u;
    own.rate *= param->rate;
    own.alpha *= param->decay;
    own.decay *= param->rate * param->decay;
    if (!s.ema) return param->decay * kernels->update[optimizer](s.params, grad, s.state[0], s.state[1], count, &own);
    double squares = 0;
    for (int64_t i = 0, n; i < count; i += n) { /* the average follows while the parameters are in the L1 cache */
        n = fbp_min(count - i, 4 * FBP_L1_NUMBERS);
        s = slice_of(j, param, first + i);
        squares += kernels->update[optimizer](s.params, fbp_at(grad, i, dtype), s.state[0], s.state[1], n, &own);
        kernels->average(s.ema, s.params, n, 1 - j->epoch->ema_decay);
    }
    return param->decay * squares;
}

/* Rows i0..i1 of W have changed: so do its copies. */
static void pack(const fbp_trainer *tr, const fbp_layer *layer, const void *params, int i0, int i1) {
    if (layer->kind->pack)
        layer->kind->pack(&tr->be, layer, fbp_at(params, layer->W->offset, tr->be.kernels->dtype), i0, i1);
}

/* Tile by tile, for the sums of squares; then the scales and the copies of W follow. */
static void take_weights(const fbp_job *j, const fbp_layer *layer, int64_t lo, int64_t hi, void *grad, void *ds,
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
    if (layer->s) update(j, layer->s, i0, i1 - i0, ds, u);
    if (j->sink->updates) pack(tr, layer, j->epoch->params, i0, i1);
}

static void take_biases(const fbp_job *j, const fbp_layer *layer, int64_t lo, int64_t hi, void *grad,
                        const fbp_update *u) {
    update(j, layer->b, lo, hi - lo, grad, u);
}

static void *in_part(const fbp_job *j, int t, int64_t offset, int64_t beside) {
    (void)offset;
    return fbp_at(j->tr->part + (size_t)t * j->tr->part_bytes, beside, j->tr->be.kernels->dtype);
}

static void *in_vector(const fbp_job *j, int t, int64_t offset, int64_t beside) {
    (void)t, (void)beside;
    return fbp_at(j->grad, offset, j->tr->be.kernels->dtype);
}

/* ---- the length of the gradient ---- */

static double squares_of(const fbp_elementwise *kernels, const void *grad, int64_t count) {
    double sum = kernels->square_sum(grad, count);
    return isfinite(sum) ? sum : kernels->square_sum_in_double(grad, count);
}

/* Of a b, or of scales. */
static double vector_squares(const fbp_job *j, const fbp_param *param) {
    return squares_of(&j->tr->be.kernels->elementwise, in_vector(j, 0, param->offset, 0),
                      (int64_t)param->rows * param->cols);
}

/* The gradient of tiles lo.. of W, one by one, and of every b becomes one with the weight decay, and its squares are
 * noted; so are those of the weights, for the penalty. */
static void measure(const fbp_job *j, int t, const fbp_update *u) {
    const fbp_trainer *tr = j->tr;
    const fbp_kernels *kernels = tr->be.kernels;
    const fbp_layer *top = &tr->net.layers[tr->net.n_layers - 1];
    double *of_biases = tr->norm_part + top->tile0 + top->n_tiles;
    for (int l = 0; l < tr->net.n_layers; l++) {
        const fbp_layer *layer = &tr->net.layers[l];
        fbp_update decay = {.alpha = u->alpha * layer->W->decay};
        int64_t lo, hi;
        for (fbp_share_tiles(tr, layer, t, &lo, &hi); lo < hi; lo++) {
            int i0 = fbp_tile_row(layer, lo), i1 = fbp_tile_row(layer, lo + 1);
            int64_t first = (int64_t)i0 * layer->out, count = (int64_t)(i1 - i0) * layer->out;
            void *grad = in_vector(j, t, layer->W->offset + first, 0);
            tr->square_part[layer->tile0 + lo] =
                layer->W->decay * kernels->optim.update[FBP_OPT_none](slice_of(j, layer->W, first).params, grad, NULL,
                                                                      NULL, count, &decay);
            tr->norm_part[layer->tile0 + lo] = squares_of(&kernels->elementwise, grad, count);
        }
        if (l % tr->n_threads == t)
            of_biases[l] = vector_squares(j, layer->b) + (layer->s ? vector_squares(j, layer->s) : 0);
    }
}

double fbp_gradient_norm(const fbp_trainer *tr) {
    const fbp_layer *top = &tr->net.layers[tr->net.n_layers - 1];
    double sum = 0;
    for (int i = 0; i < top->tile0 + top->n_tiles + tr->net.n_layers; i++) sum += tr->norm_part[i];
    return sqrt(sum);
}

/* What a gradient of this length is multiplied with, by the rule of Pascanu, Mikolov and Bengio, "On the difficulty of
 * training recurrent neural networks", 2013; the small number is PyTorch's. */
static double clip_factor(const fbp_job *j) {
    double factor = j->epoch->max_grad_norm / (fbp_gradient_norm(j->tr) + 1e-6);
    return factor < 1 ? factor : 1;
}

/* As update, of a measured gradient: its squares are noted already. */
static void update_clipped(const fbp_job *j, const fbp_param *param, int64_t first, int64_t count, double factor,
                           const fbp_update *u) {
    void *grad = in_vector(j, 0, param->offset + first, 0);
    fbp_update without = *u;
    without.alpha = 0;
    if (factor != 1) j->tr->be.kernels->elementwise.scale(grad, count, factor);
    update(j, param, first, count, grad, &without);
}

static void finish_clipped(const fbp_job *j, int t, const fbp_update *u) {
    const fbp_trainer *tr = j->tr;
    double factor = clip_factor(j);
    for (int l = tr->net.n_layers - 1; l >= 0; l--) {
        const fbp_layer *layer = &tr->net.layers[l];
        int64_t lo, hi;
        for (fbp_share_tiles(tr, layer, t, &lo, &hi); lo < hi;) {
            int64_t end = fbp_joined_end(layer, lo, hi);
            int i0 = fbp_tile_row(layer, lo), i1 = fbp_tile_row(layer, end);
            update_clipped(j, layer->W, (int64_t)i0 * layer->out, (int64_t)(i1 - i0) * layer->out, factor, u);
            if (layer->s) update_clipped(j, layer->s, i0, i1 - i0, factor, u);
            pack(tr, layer, j->epoch->params, i0, i1);
            lo = end;
        }
        fbp_share_columns(tr, layer, t, &lo, &hi);
        if (lo < hi) update_clipped(j, layer->b, lo, hi - lo, factor, u);
    }
}

/* A barrier has passed: all of the gradient is there, and no thread reads W any more. */
static void finish(const fbp_job *j, int t, const fbp_update *u) {
    const fbp_trainer *tr = j->tr;
    if (j->epoch->max_grad_norm > 0) {
        finish_clipped(j, t, u);
        return;
    }
    for (int l = tr->net.n_layers - 1; l >= 0; l--) {
        const fbp_layer *layer = &tr->net.layers[l];
        int64_t lo, hi;
        for (fbp_share_tiles(tr, layer, t, &lo, &hi); lo < hi;) {
            int64_t end = fbp_joined_end(layer, lo, hi);
            int i0 = fbp_tile_row(layer, lo);
            void *ds = layer->s ? in_vector(j, t, layer->s->offset + i0, 0) : NULL;
            take_weights(j, layer, lo, end, in_vector(j, t, layer->W->offset + (int64_t)i0 * layer->out, 0), ds, u);
            lo = end;
        }
        fbp_share_columns(tr, layer, t, &lo, &hi);
        if (lo < hi) take_biases(j, layer, lo, hi, in_vector(j, t, layer->b->offset + lo, 0), u);
    }
}

const fbp_sink fbp_sink_update = {
    .updates = 1, .place = in_part, .take_weights = take_weights, .take_biases = take_biases};
const fbp_sink fbp_sink_keep = {.place = in_vector, .take_weights = take_weights, .take_biases = take_biases};
const fbp_sink fbp_sink_reduce = {.updates = 1, .place = in_vector, .measure = measure, .finish = finish};
