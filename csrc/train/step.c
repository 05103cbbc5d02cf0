/* The loop over mini-batches. Phases of a pass over the arena, L layers:
 *     rows     fetch, forward, loss, dz of the top hidden layers     (row tiles, no barrier inside)
 *     weights  dW, db, and the sink                                  (tiles of rows of W)
 * dz of hidden layer l lives in dz[l & 1], so only two hidden dz are alive at once: below the top two, the phases
 * alternate layer by layer. */
#define _GNU_SOURCE
#include <math.h>
#include <time.h>

#include "runtime/cpu.h"
#include "train/train.h"

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Rows first..first+n of the source, as thread t sees them. */
static fbp_pass pass_of(const fbp_job *j, int64_t first, int64_t n, int t) {
    const fbp_trainer *tr = j->tr;
    const fbp_layer *layer = &tr->net.layers[0];
    const fbp_layer_kind *kind = layer->kind;
    fbp_pass p = {.net = &tr->net,
                  .be = &tr->be,
                  .tape = &tr->tape,
                  .params = j->epoch->params,
                  .scratch = tr->scratch + (size_t)t * tr->scratch_bytes};
    /* Of all passes alike, short ones too: threads of a forward pass may be in different ones, in one buffer. */
    int pointers = kind->reads_pointers && kind->reads_pointers(&tr->be, layer, tr->pass);
    fbp_batch_open(&p.batch, &j->source, tr->be.kernels, first, n, kind->reads_entries, pointers, &tr->tape.fetched);
    return p;
}

/* The caller may have changed the parameters since the last call. */
static void pack_weights(const fbp_job *j, int t) {
    const fbp_trainer *tr = j->tr;
    for (int l = 0; l < tr->net.n_layers; l++) {
        const fbp_layer *layer = &tr->net.layers[l];
        int64_t lo, hi;
        fbp_share_tiles(tr, layer, t, &lo, &hi);
        int i0 = fbp_tile_row(layer, lo), i1 = fbp_tile_row(layer, hi);
        if (i0 < i1 && layer->kind->pack)
            layer->kind->pack(&tr->be, layer, fbp_at(j->epoch->params, layer->W->offset, tr->be.kernels->dtype), i0,
                              i1);
    }
    fbp_pool_barrier(tr->pool);
}

/* dW, db of layer l from all rows, this thread's part, and into the sink. u: set on the last pass of the mini-batch. */
static void weights_phase(const fbp_job *j, fbp_pass *p, int l, int t, int accumulate, const fbp_update *u) {
    const fbp_trainer *tr = j->tr;
    const fbp_layer *layer = &tr->net.layers[l];
    int64_t lo, hi;
    for (fbp_share_tiles(tr, layer, t, &lo, &hi); lo < hi;) {
        int64_t end = fbp_joined_end(layer, lo, hi);
        int i0 = fbp_tile_row(layer, lo), i1 = fbp_tile_row(layer, end);
        void *dW = j->sink->place(j, t, layer->W->offset + (int64_t)i0 * layer->out);
        fbp_net_weight_grad(p, l, dW, i0, i1, accumulate, end == hi);
        if (u && j->sink->take_weights) j->sink->take_weights(j, layer, lo, end, dW, u);
        lo = end;
    }
    fbp_share_columns(tr, layer, t, &lo, &hi);
    if (lo >= hi) return;
    void *db = j->sink->place(j, t, layer->b->offset + lo);
    fbp_net_bias_grad(p, l, db, (int)lo, (int)hi, accumulate);
    if (u && j->sink->take_biases) j->sink->take_biases(j, layer, lo, hi, db, u);
}

/* Row tiles tile..hi of a pass of n rows, a few at a time: r0..r1 are rows that may go through the layers together. */
static int next_rows(const fbp_trainer *tr, int64_t n, int64_t hi, int64_t *tile, int64_t *r0, int64_t *r1) {
    int64_t joined = tr->be.packed ? fbp_max(FBP_JOINED_ROWS / tr->tile, 1) : 1;
    if (*tile >= hi) return 0;
    int64_t end = fbp_min(*tile + joined, hi);
    *r0 = *tile * tr->tile;
    *r1 = fbp_min(end * tr->tile, n);
    *tile = end;
    return *r0 < n;
}

/* Forward, loss and the first input gradients of this thread's rows. */
static void rows_phase(const fbp_job *j, fbp_pass *p, int64_t lo, int64_t hi) {
    const fbp_trainer *tr = j->tr;
    int top = tr->net.n_layers - 1;
    int64_t r0, r1;
    for (int64_t tile = lo, first = lo; next_rows(tr, p->batch.n, hi, &tile, &r0, &r1); first = tile) {
        fbp_net_forward(p, r0, r1, tr->tape.z[top]);
        for (int64_t i = first; i < tile; i++)
            tr->loss_part[i] = fbp_net_loss(p, i * tr->tile, fbp_min((i + 1) * tr->tile, r1));
        for (int l = top; j->sink && l >= tr->net.rows_down_to; l--) fbp_net_input_grad(p, l, r0, r1);
    }
}

/* One pass over the arena. Returns the weighted loss sum of its rows: the same in every thread. */
static double run_pass(const fbp_job *j, int64_t first, int64_t n, double scale, int t, int accumulate,
                       const fbp_update *u) {
    const fbp_trainer *tr = j->tr;
    fbp_pass p = pass_of(j, first, n, t);
    int64_t tiles = fbp_ceil_div(n, tr->tile), lo, hi, r0, r1;
    double loss = 0;
    p.batch.scale = scale;
    p.batch.clip = j->epoch->clip;
    fbp_share(tiles, t, tr->n_threads, &lo, &hi);
    rows_phase(j, &p, lo, hi);
    fbp_pool_barrier(tr->pool);
    for (int64_t tile = 0; tile < tiles; tile++) loss += tr->loss_part[tile];
    if (!j->sink || (j->sink->updates && !isfinite(loss))) {
        fbp_pool_barrier(tr->pool); /* loss_part may be written again only when all have read it */
        return loss;
    }
    for (int l = tr->net.n_layers - 1; l >= 0; l--) {
        if (l >= 1 && l < tr->net.rows_down_to) {
            fbp_pool_barrier(tr->pool); /* dz of layer l+1 is read no more */
            for (int64_t tile = lo; next_rows(tr, n, hi, &tile, &r0, &r1);) fbp_net_input_grad(&p, l, r0, r1);
            fbp_pool_barrier(tr->pool); /* W_l is read no more, dz of layer l-1 is whole */
        }
        weights_phase(j, &p, l, t, accumulate, u);
    }
    fbp_pool_barrier(tr->pool);
    return loss;
}

/* The sum of the squares that the weight decay counts, as the sinks sum it. */
static double weight_squares(const fbp_job *j) {
    const fbp_kernels *kernels = j->tr->be.kernels;
    double sum = 0;
    for (int l = 0; l < j->tr->net.n_layers; l++) {
        const fbp_param *W = j->tr->net.layers[l].W;
        sum += W->decay * kernels->elementwise.square_sum(fbp_at(j->epoch->params, W->offset, kernels->dtype),
                                                          (int64_t)W->rows * W->cols);
    }
    return sum;
}

/* The mini-batch of rows first..first+n, whose weights sum to total: every pass, then the sums. */
static double run_batch(const fbp_job *j, int64_t first, int64_t n, double total, int t, const fbp_update *u) {
    const fbp_trainer *tr = j->tr;
    const fbp_epoch *e = j->epoch;
    double loss = 0, squares = 0;
    for (int64_t done = 0; done < n; done += tr->pass) {
        int64_t rows = fbp_min(n - done, tr->pass);
        loss += run_pass(j, first + done, rows, 1 / total, t, done > 0, done + rows == n ? u : NULL);
        if (j->sink && j->sink->updates && !isfinite(loss)) return loss;
    }
    if (j->sink && j->sink->finish) {
        j->sink->finish(j, t, u);
        fbp_pool_barrier(tr->pool);
    }
    if (e->alpha > 0 && j->sink) {
        const fbp_layer *top = &tr->net.layers[tr->net.n_layers - 1];
        for (int i = 0; i < top->tile0 + top->n_tiles; i++) squares += tr->square_part[i];
    } else if (e->alpha > 0 && t == 0) {
        squares = weight_squares(j);
    }
    return (loss * e->loss_scale + 0.5 * e->alpha * squares) / total;
}

/* The t-th update, with the bias corrections of Adam in its rate. */
static fbp_update update_of(const fbp_epoch *e, fbp_optimizer optimizer, double total, int64_t t) {
    fbp_update u = {e->alpha / total, e->learning_rate, e->momentum, e->beta_1, e->beta_2, e->epsilon};
    if (optimizer == FBP_OPT_adam) u.rate *= sqrt(1 - pow(e->beta_2, (double)t)) / (1 - pow(e->beta_1, (double)t));
    return u;
}

static void epoch_task(void *context, int t) {
    const fbp_job *j = context;
    fbp_epoch *e = j->epoch;
    int64_t row = e->row, steps = e->t;
    uint64_t state = fbp_flush_denormals();
    double start = t == 0 ? seconds_now() : 0;
    int go_on = 1;

    pack_weights(j, t);
    while (go_on && row < e->n) {
        int64_t n = fbp_min(e->n - row, e->batch);
        double total = fbp_source_weight(&j->source, row, n);
        if (total != 0) { /* nothing to learn from rows without weight */
            fbp_update update = update_of(e, j->tr->optimizer, total, steps + 1);
            double loss = run_batch(j, row, n, total, t, &update);
            if (t == 0) e->loss_sum += loss * (double)n;
            if (!isfinite(loss)) break;
            steps++;
            if (t == 0) e->pause = seconds_now() - start > e->seconds;
            fbp_pool_barrier(j->tr->pool);
            go_on = !e->pause; /* written again only after the barriers of the next batch */
        }
        row += n;
    }
    fbp_pool_barrier(j->tr->pool);
    if (t == 0) {
        e->row = row;
        e->t = steps;
        e->finite = isfinite(e->loss_sum);
    }
    fbp_restore_state(state);
}

static fbp_job job_of(fbp_trainer *tr, fbp_epoch *epoch) {
    return (fbp_job){.tr = tr, .epoch = epoch, .source = fbp_source_of(epoch->data, epoch->order)};
}

void fbp_trainer_epoch(fbp_trainer *tr, fbp_epoch *epoch) {
    fbp_job j = job_of(tr, epoch);
    j.sink = tr->grad ? &fbp_sink_reduce : &fbp_sink_update;
    j.grad = tr->grad;
    epoch->pause = 0;
    fbp_pool_run(tr->pool, epoch_task, &j);
}

static void value_grad_task(void *context, int t) {
    const fbp_job *j = context;
    fbp_epoch *e = j->epoch;
    uint64_t state = fbp_flush_denormals();
    double total = fbp_source_weight(&j->source, 0, e->n);
    fbp_update update = {.alpha = e->alpha / total};
    pack_weights(j, t);
    double loss = run_batch(j, 0, e->n, total, t, &update);
    if (t == 0) e->loss_sum = loss;
    fbp_restore_state(state);
}

double fbp_trainer_value_grad(fbp_trainer *tr, fbp_epoch *epoch, void *grad) {
    fbp_job j = job_of(tr, epoch);
    j.sink = grad ? &fbp_sink_keep : NULL;
    j.grad = grad;
    fbp_pool_run(tr->pool, value_grad_task, &j);
    return epoch->loss_sum;
}

/* Rows are independent: every thread keeps to its own tiles of the arena, so there is no barrier. */
static void forward_task(void *context, int t) {
    const fbp_job *j = context;
    const fbp_trainer *tr = j->tr;
    const fbp_net *net = &tr->net;
    int out = net->layers[net->n_layers - 1].out;
    int64_t lo, hi, r0, r1;
    uint64_t state = fbp_flush_denormals();
    pack_weights(j, t);
    fbp_share(fbp_ceil_div(tr->pass, tr->tile), t, tr->n_threads, &lo, &hi);
    for (int64_t first = 0; first < j->epoch->n; first += tr->pass) {
        fbp_pass p = pass_of(j, first, fbp_min(j->epoch->n - first, tr->pass), t);
        char *result = fbp_at(j->result, first * out, tr->be.kernels->dtype);
        for (int64_t tile = lo; next_rows(tr, p.batch.n, hi, &tile, &r0, &r1);) {
            fbp_net_forward(&p, r0, r1, result);
            tr->be.kernels->losses.output[net->loss](fbp_at(result, r0 * out, tr->be.kernels->dtype), r1 - r0, out);
        }
    }
    fbp_restore_state(state);
}

void fbp_trainer_forward(fbp_trainer *tr, fbp_epoch *epoch, void *result) {
    fbp_job j = job_of(tr, epoch);
    j.result = result;
    fbp_pool_run(tr->pool, forward_task, &j);
}
