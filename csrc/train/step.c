/* The loop over mini-batches. Phases of a pass over the arena, L layers:
 *     rows     fetch, forward, loss, dz of the top hidden layers     (row tiles, no barrier inside)
 *     weights  dW, db, and the sink                                  (tiles of rows of W)
 * dz of hidden layer l lives in dz[l & 1], so only two hidden dz are alive at once: below the top two, the phases
 * alternate layer by layer.
 *
 * A call ends early if the caller's `poll` asks for it. Thread 0 asks it now and then, between two pieces of work, and
 * says after which barrier all leave: the next one that it comes to itself. Until then the others do the barriers that
 * are left but no more work. So threads leave at the same barrier however far apart they are, and nothing else that
 * decides about barriers may differ between them: it is read after a barrier, and was written before it. */
#include <math.h>
#include <string.h>

#include "runtime/cpu.h"
#include "runtime/os.h"
#include "train/train.h"

/* ---- a thread in a call, and how it leaves ------------------------------------------------------- */

typedef struct {
    fbp_job *j;
    int t;
    int64_t met;    /* barriers behind it */
    int stopped;    /* it has come to the one after which all leave */
    int updating;   /* parameters are being changed: the mini-batch can be given up no more */
    int given_up;   /* by the ranks together */
    uint64_t state; /* the caller's, of floating-point arithmetic */
} worker;

static worker enter(fbp_job *j, int t) { return (worker){.j = j, .t = t, .state = fbp_flush_denormals()}; }
static void leave(const worker *w) { fbp_restore_state(w->state); }

static int is_stopping(const fbp_job *j) {
    return atomic_load_explicit(&j->stop_at, memory_order_relaxed) != FBP_NEVER;
}

/* What runs in poll finds the caller's state of floating-point arithmetic. */
static void poll(worker *w) {
    fbp_job *j = w->j;
    const fbp_epoch *e = j->epoch;
    if (!e->poll || is_stopping(j) || fbp_os_seconds() - j->polled < FBP_POLL_SECONDS) return;
    fbp_restore_state(w->state);
    int stop = e->poll(e->poll_context);
    w->state = fbp_flush_denormals();
    j->polled = fbp_os_seconds();
    if (stop) atomic_store(&j->stop_at, w->met + 1);
}

/* Between two pieces of work: is the next one to be done? */
static int goes_on(worker *w) {
    if (w->t == 0 && !w->updating) poll(w);
    return !is_stopping(w->j);
}

static void meet(worker *w) {
    fbp_pool_barrier(w->j->tr->pool);
    w->met++;
    w->stopped = atomic_load(&w->j->stop_at) <= w->met;
}

/* ---- phases ---------------------------------------------------------------------------------------- */

/* Rows first..first+n of the source, as thread t sees them. */
static fbp_pass pass_of(const fbp_job *j, int64_t first, int64_t n, int t) {
    const fbp_trainer *tr = j->tr;
    const fbp_layer *layer = &tr->net.layers[0];
    const fbp_layer_kind *kind = layer->kind;
    fbp_pass p = {.net = &tr->net,
                  .be = &tr->be,
                  .tape = &tr->tape,
                  .params = j->epoch->params,
                  .drop_key = j->batch.drop_key,
                  .drops = j->drops,
                  .before = j->epoch->before,
                  .asked = j->epoch->ask != NULL,
                  .scratch = tr->scratch + (size_t)t * tr->scratch_bytes};
    /* Of all passes alike, short ones too: threads of a forward pass may be in different ones, in one buffer. */
    int pointers = kind->reads_pointers && kind->reads_pointers(&tr->be, layer, tr->pass);
    int owned = j->drops && layer->dropout > 0;
    fbp_batch_open(&p.batch, &j->source, tr->be.kernels, first, n, kind->reads_entries, pointers, owned,
                   &tr->tape.fetched);
    return p;
}

/* The caller may have changed the parameters since the last call. */
static void pack_weights(worker *w) {
    const fbp_job *j = w->j;
    const fbp_trainer *tr = j->tr;
    for (int l = 0; l < tr->net.n_layers && goes_on(w); l++) {
        const fbp_layer *layer = &tr->net.layers[l];
        int64_t lo, hi;
        fbp_share_tiles(tr, layer, w->t, &lo, &hi);
        int i0 = fbp_tile_row(layer, lo), i1 = fbp_tile_row(layer, hi);
        if (i0 < i1 && layer->kind->pack)
            layer->kind->pack(&tr->be, layer, fbp_at(j->epoch->params, layer->W->offset, tr->be.kernels->dtype), i0,
                              i1);
    }
    meet(w);
}

/* dW, db of layer l from all rows, this thread's part, and into the sink. u: set on the last pass of the mini-batch. */
static void weights_phase(worker *w, fbp_pass *p, int l, int accumulate, const fbp_update *u) {
    const fbp_job *j = w->j;
    const fbp_trainer *tr = j->tr;
    const fbp_layer *layer = &tr->net.layers[l];
    int t = w->t;
    int64_t lo, hi;
    for (fbp_share_tiles(tr, layer, t, &lo, &hi); lo < hi && goes_on(w);) {
        int64_t end = fbp_joined_end(layer, lo, hi);
        int i0 = fbp_tile_row(layer, lo), i1 = fbp_tile_row(layer, end);
        void *dW = j->sink->place(j, t, layer->W->offset + (int64_t)i0 * layer->out, 0), *ds = NULL;
        fbp_net_weight_grad(p, l, dW, i0, i1, accumulate, end == hi);
        if (layer->s) ds = j->sink->place(j, t, layer->s->offset + i0, (int64_t)(i1 - i0) * layer->out);
        if (u && layer->kind->whole_grad) layer->kind->whole_grad(p, l, dW, ds, i0, i1);
        if (u && j->sink->take_weights) j->sink->take_weights(j, layer, lo, end, dW, ds, u);
        lo = end;
    }
    fbp_share_columns(tr, layer, t, &lo, &hi);
    if (lo >= hi || !goes_on(w)) return;
    void *db = j->sink->place(j, t, layer->b->offset + lo, 0);
    fbp_net_bias_grad(p, l, db, (int)lo, (int)hi, accumulate);
    if (u && j->sink->take_biases) j->sink->take_biases(j, layer, lo, hi, db, u);
}

/* Row tiles tile..hi of a pass of n rows, a few at a time: r0..r1 are rows that may go through the layers together. */
static int next_rows(const fbp_trainer *tr, int64_t n, int64_t hi, int64_t *tile, int64_t *r0, int64_t *r1) {
    int64_t joined = tr->be.packed || tr->be.direct ? fbp_max(tr->joined_rows / tr->tile, 1) : 1;
    if (*tile >= hi) return 0;
    int64_t end = fbp_min(*tile + joined, hi);
    *r0 = *tile * tr->tile;
    *r1 = fbp_min(end * tr->tile, n);
    *tile = end;
    return *r0 < n;
}

static void deliver_rows(const fbp_job *j, int64_t first, int64_t r0, int64_t r1);

/* Forward; the output is delivered before the loss writes over z. */
static void forward_rows(const fbp_job *j, fbp_pass *p, int64_t r0, int64_t r1) {
    fbp_net_forward(p, r0, r1);
    if (j->output) deliver_rows(j, p->batch.first, r0, r1);
}

/* The output of the pass is there: the caller says what its loss is. */
static void ask(worker *w, const fbp_pass *p) {
    const fbp_job *j = w->j;
    const fbp_epoch *e = j->epoch;
    const fbp_tape *tape = p->tape;
    fbp_question question = {.first = p->batch.first,
                             .n = p->batch.n,
                             .output = tape->z[p->net->n_layers - 1],
                             .y = tape->fetched.y,
                             .weight = e->data->weight ? tape->fetched.weight : NULL,
                             .d_output = tape->d_output,
                             .loss = tape->row_loss};
    if (is_stopping(j)) return;
    fbp_restore_state(w->state);
    int stop = e->ask(e->poll_context, &question);
    w->state = fbp_flush_denormals();
    if (stop) atomic_store(&w->j->stop_at, w->met + 1);
}

/* Forward to the output activation, of this thread's rows, and back with the answer. */
static void asking_phase(worker *w, fbp_pass *p, int64_t lo, int64_t hi) {
    const fbp_trainer *tr = w->j->tr;
    int top = tr->net.n_layers - 1, out = tr->net.layers[top].out;
    const fbp_kernels *kernels = tr->be.kernels;
    int64_t r0, r1;
    for (int64_t tile = lo; next_rows(tr, p->batch.n, hi, &tile, &r0, &r1) && goes_on(w);) {
        forward_rows(w->j, p, r0, r1);
        fbp_batch_fetch_targets(&p->batch, r0, r1);
        kernels->losses.output[tr->net.loss](fbp_at(tr->tape.z[top], r0 * out, kernels->dtype), r1 - r0, out);
    }
    meet(w);
    if (w->stopped) return;
    if (w->t == 0) ask(w, p);
    meet(w);
}

/* Forward, loss and the first input gradients of this thread's rows. */
static void rows_phase(worker *w, fbp_pass *p, int64_t lo, int64_t hi) {
    const fbp_job *j = w->j;
    const fbp_trainer *tr = j->tr;
    int top = tr->net.n_layers - 1;
    int64_t r0, r1;
    if (p->asked) asking_phase(w, p, lo, hi);
    for (int64_t tile = lo, first = lo; next_rows(tr, p->batch.n, hi, &tile, &r0, &r1); first = tile) {
        if (w->stopped || !goes_on(w)) return;
        if (!p->asked) forward_rows(j, p, r0, r1);
        for (int64_t i = first; i < tile; i++)
            tr->loss_part[i] = fbp_net_loss(p, i * tr->tile, fbp_min((i + 1) * tr->tile, r1));
        for (int l = top; j->sink && l >= tr->net.rows_down_to && goes_on(w); l--) fbp_net_input_grad(p, l, r0, r1);
    }
}

/* One pass over the arena. Returns the weighted loss sum of its rows: the same in every thread. */
static double run_pass(worker *w, int64_t first, int64_t n, double scale, int accumulate, const fbp_update *u) {
    const fbp_job *j = w->j;
    const fbp_trainer *tr = j->tr;
    fbp_pass p = pass_of(j, first, n, w->t);
    int64_t tiles = fbp_ceil_div(n, tr->tile), lo, hi, r0, r1;
    double loss = 0;
    p.batch.scale = scale;
    p.batch.clip = j->epoch->clip;
    fbp_share(tiles, w->t, tr->n_threads, &lo, &hi);
    rows_phase(w, &p, lo, hi);
    if (w->stopped) return 0;
    meet(w);
    if (w->stopped) return 0;
    for (int64_t tile = 0; tile < tiles; tile++) loss += tr->loss_part[tile];
    if (!j->sink || (j->sink->updates && !isfinite(loss))) {
        meet(w); /* loss_part may be written again only when all have read it */
        return loss;
    }
    w->updating = u && j->sink->updates && j->sink->take_weights;
    for (int l = tr->net.n_layers - 1; l >= 0; l--) {
        if (l >= 1 && l < tr->net.rows_down_to) {
            meet(w); /* dz of layer l+1 is read no more */
            for (int64_t tile = lo; next_rows(tr, n, hi, &tile, &r0, &r1) && goes_on(w);)
                fbp_net_input_grad(&p, l, r0, r1);
            meet(w); /* W_l is read no more, dz of layer l-1 is whole */
        }
        weights_phase(w, &p, l, accumulate, u);
    }
    if (j->epoch->grad_x) {
        p.grad_x = fbp_at(j->epoch->grad_x, first * tr->net.features, tr->be.kernels->dtype);
        for (int64_t tile = lo; next_rows(tr, n, hi, &tile, &r0, &r1) && goes_on(w);) fbp_net_input_grad(&p, 0, r0, r1);
    }
    meet(w);
    w->updating = 0;
    return loss;
}

/* ---- several ranks -------------------------------------------------------------------------------- */

/* All ranks meet here once in each step; `loss`: that of this one. By thread 0. */
static void reduce(worker *w, double loss) {
    fbp_job *j = w->j;
    const fbp_epoch *e = j->epoch;
    int64_t n = j->tr->net.n_params;
    if (j->tr->be.kernels->dtype == FBP_F32)
        ((float *)j->grad)[n] = (float)loss;
    else
        ((double *)j->grad)[n] = loss;
    j->reduced = j->batch.step + 1;
    fbp_restore_state(w->state);
    int failed = e->reduction->reduce(e->poll_context, j->grad, n + 1);
    w->state = fbp_flush_denormals();
    if (failed) atomic_store(&j->stop_at, w->met + 1);
}

/* The gradient and the loss of this rank's rows become those of all ranks: the same in every thread. */
static void reduce_gradient(worker *w, double loss) {
    const fbp_job *j = w->j;
    int64_t n = j->tr->net.n_params;
    if (w->t == 0) reduce(w, loss);
    meet(w);
    w->given_up =
        !isfinite(j->tr->be.kernels->dtype == FBP_F32 ? (double)((float *)j->grad)[n] : ((double *)j->grad)[n]);
}

/* This rank has no row to learn from in this step. */
static void clear_gradient(worker *w) {
    const fbp_trainer *tr = w->j->tr;
    size_t item = fbp_item(tr->be.kernels->dtype);
    int64_t lo, hi;
    fbp_share(tr->net.n_params, w->t, tr->n_threads, &lo, &hi);
    memset((char *)w->j->grad + (size_t)lo * item, 0, (size_t)(hi - lo) * item);
    meet(w);
}

/* The others wait for a rank that leaves early, for it cannot tell them otherwise. By thread 0. */
static void excuse(worker *w) {
    const fbp_job *j = w->j;
    if (j->epoch->reduction && w->stopped && j->batch.rows && j->reduced <= j->batch.step) reduce(w, NAN);
}

/* ---- mini-batches --------------------------------------------------------------------------------- */

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

/* A mini-batch: every pass, then the sums. The loss is that of this rank. */
static double run_batch(worker *w, const fbp_mini_batch *batch, const fbp_update *u) {
    const fbp_job *j = w->j;
    const fbp_trainer *tr = j->tr;
    const fbp_epoch *e = j->epoch;
    double loss = 0, squares = 0;
    if (e->reduction && !batch->n) clear_gradient(w);
    for (int64_t done = 0; done < batch->n; done += tr->pass) {
        int64_t rows = fbp_min(batch->n - done, tr->pass);
        loss += run_pass(w, batch->row + done, rows, 1 / batch->total, done > 0, done + rows == batch->n ? u : NULL);
        if (w->stopped) return 0;
        if (j->sink && j->sink->updates && !isfinite(loss)) break;
    }
    if (e->reduction) reduce_gradient(w, loss / batch->total);
    if (w->stopped || w->given_up || (j->sink && j->sink->updates && !isfinite(loss))) return loss;
    if (j->sink && j->sink->finish) {
        if (e->max_grad_norm > 0) {
            j->sink->measure(j, w->t, u);
            meet(w);
            if (!isfinite(fbp_gradient_norm(tr))) return NAN;
        }
        j->sink->finish(j, w->t, u);
        meet(w);
    }
    if (e->alpha > 0 && j->sink) {
        const fbp_layer *top = &tr->net.layers[tr->net.n_layers - 1];
        for (int i = 0; i < top->tile0 + top->n_tiles; i++) squares += tr->square_part[i];
    } else if (e->alpha > 0 && w->t == 0) {
        squares = weight_squares(j);
    }
    if (e->reduction && !e->reduction->counts_penalty) squares = 0;
    return (loss * e->loss_scale + 0.5 * e->alpha * squares) / batch->total;
}

/* The t-th update, with the bias corrections of Adam in its rate. Adam adds epsilon to a root that is not corrected, as
 * scikit-learn does; AdamW to one that is, as its authors do. */
static fbp_update update_of(const fbp_epoch *e, fbp_optimizer optimizer, double total, double rate, int64_t t) {
    fbp_update u = {.alpha = e->alpha / total,
                    .rate = rate,
                    .momentum = e->momentum,
                    .beta_1 = e->beta_1,
                    .beta_2 = e->beta_2,
                    .epsilon = e->epsilon,
                    .decay = rate * e->weight_decay};
    if (optimizer == FBP_OPT_adam || optimizer == FBP_OPT_adamw) {
        double root = sqrt(1 - pow(e->beta_2, (double)t));
        u.rate *= root / (1 - pow(e->beta_1, (double)t));
        if (optimizer == FBP_OPT_adamw) u.epsilon *= root;
    }
    return u;
}

static double sum_weights(worker *w, int64_t first, int64_t n) {
    double sum = 0;
    for (int64_t end = first + n; first < end && goes_on(w); first += FBP_WEIGHTS_AT_ONCE)
        sum = fbp_source_weight(&w->j->source, sum, first, fbp_min(end - first, FBP_WEIGHTS_AT_ONCE));
    return sum;
}

/* The next mini-batch from `row` on that has weight: there is nothing to learn from rows without. Thread 0 chooses it
 * before a barrier and the others read it after: a caller that rewrites weights meanwhile cannot make them disagree. */
static void choose_batch(worker *w, int64_t row) {
    const fbp_epoch *e = w->j->epoch;
    double total = 0;
    int64_t n = 0;
    for (; row < e->n && !is_stopping(w->j); row += n) {
        n = fbp_min(e->n - row, e->batch);
        total = sum_weights(w, row, n);
        if (total != 0) break;
    }
    n = fbp_min(e->n - row, n);
    w->j->batch = (fbp_mini_batch){.row = row, .n = n, .end = row + n, .rows = n, .total = total};
}

/* The next step from `step` on in which some rank has weight. */
static void choose_step(worker *w, int64_t step) {
    const fbp_reduction *r = w->j->epoch->reduction;
    while (step < r->n_steps && r->totals[step] == 0) step++;
    fbp_mini_batch batch = {.row = step ? r->ends[step - 1] : 0, .step = step};
    batch.end = batch.row;
    if (step < r->n_steps) {
        batch.end = r->ends[step];
        batch.rows = r->rows[step];
        batch.total = r->totals[step];
        if (sum_weights(w, batch.row, batch.end - batch.row) != 0) batch.n = batch.end - batch.row;
    }
    w->j->batch = batch;
}

static void choose(worker *w) {
    const fbp_epoch *e = w->j->epoch;
    if (e->reduction)
        choose_step(w, e->reduction->step);
    else
        choose_batch(w, e->row);
    w->j->batch.drop_key = fbp_mix(e->seed + fbp_mix((uint64_t)e->t + 1));
}

static void note_done(fbp_epoch *e, const fbp_mini_batch *batch) {
    e->row = batch->end;
    e->t++;
    if (e->reduction) e->reduction->step = batch->step + 1;
}

static void epoch_task(void *context, int t) {
    fbp_job *j = context;
    fbp_epoch *e = j->epoch;
    const int64_t first = e->reduction ? e->reduction->step : e->row;
    int64_t steps = e->t;
    worker w = enter(j, t);

    if (t == 0) choose(&w);
    pack_weights(&w);
    fbp_mini_batch batch = j->batch; /* chosen anew only after the barriers of this one */
    while (!w.stopped && batch.rows) {
        int64_t number = e->reduction ? batch.step - first : (batch.row - first) / e->batch;
        double rate = e->rates ? e->rates[number] : e->learning_rate;
        fbp_update update = update_of(e, j->tr->optimizer, batch.total, rate, steps + 1);
        double loss = run_batch(&w, &batch, &update);
        if (w.stopped) break;
        if (t == 0 && !(w.given_up && isfinite(loss))) e->loss_sum += loss * (double)batch.rows;
        if (w.given_up || !isfinite(loss)) {
            if (t == 0) e->finite = 0;
            break;
        }
        steps++;
        if (t == 0) {
            note_done(e, &batch);
            choose(&w);
        }
        meet(&w);
        batch = j->batch;
    }
    if (t == 0 && !w.stopped) { /* also over rows without weight */
        e->row = batch.row;
        if (e->reduction) e->reduction->step = batch.step;
    }
    if (t == 0) excuse(&w);
    leave(&w);
}

static fbp_job job_of(fbp_trainer *tr, fbp_epoch *epoch) {
    return (fbp_job){.tr = tr,
                     .epoch = epoch,
                     .source = fbp_source_of(epoch->data, epoch->order),
                     .output = epoch->output,
                     .polled = epoch->poll ? fbp_os_seconds() : 0,
                     .stop_at = FBP_NEVER};
}

void fbp_trainer_epoch(fbp_trainer *tr, fbp_epoch *epoch) {
    fbp_job j = job_of(tr, epoch);
    j.sink = tr->grad ? &fbp_sink_reduce : &fbp_sink_update;
    j.grad = tr->grad;
    j.drops = 1;
    fbp_pool_run(tr->pool, epoch_task, &j);
}

static void value_grad_task(void *context, int t) {
    fbp_job *j = context;
    fbp_epoch *e = j->epoch;
    worker w = enter(j, t);
    if (t == 0) j->batch = (fbp_mini_batch){.n = e->n, .rows = e->n, .total = e->sum ? 1 : sum_weights(&w, 0, e->n)};
    pack_weights(&w);
    if (!w.stopped) {
        fbp_update update = {.alpha = e->alpha / j->batch.total};
        double loss = run_batch(&w, &j->batch, &update);
        if (t == 0) e->loss_sum = loss;
    }
    leave(&w);
}

double fbp_trainer_value_grad(fbp_trainer *tr, fbp_epoch *epoch, void *grad) {
    fbp_job j = job_of(tr, epoch);
    j.sink = grad ? &fbp_sink_keep : NULL;
    j.grad = grad;
    fbp_pool_run(tr->pool, value_grad_task, &j);
    return epoch->loss_sum;
}

/* Rows r0..r1 of the pass of z, or of a, of width columns go to rows first.. of `to`. */
static void deliver(const fbp_job *j, void *to, const void *z, int64_t first, int64_t r0, int64_t r1, int width) {
    const fbp_kernels *kernels = j->tr->be.kernels, *wanted = fbp_kernels_for(&j->tr->be, j->output->dtype);
    int64_t item = (int64_t)fbp_item(kernels->dtype);
    fbp_strided from = {fbp_at(z, r0 * width, kernels->dtype), kernels->dtype, width * item, item};
    wanted->elementwise.gather(fbp_at(to, (first + r0) * width, wanted->dtype), &from, NULL, 0, r1 - r0, width);
}

/* What is asked for of rows r0..r1 of a pass that begins with row `first`. The tape holds z, or where products are
 * direct already a. */
static void deliver_rows(const fbp_job *j, int64_t first, int64_t r0, int64_t r1) {
    const fbp_trainer *tr = j->tr;
    const fbp_output *o = j->output;
    int top = tr->net.n_layers - 1, out = tr->net.layers[top].out;
    for (int l = 0; o->hidden && l < top; l++) {
        const fbp_layer *layer = &tr->net.layers[l];
        void *z = fbp_at(tr->tape.z[l], r0 * layer->out, tr->be.kernels->dtype);
        if (!tr->be.direct) tr->be.kernels->elementwise.act[layer->act](z, z, layer->out, r1 - r0, layer->out);
        deliver(j, o->hidden[l], tr->tape.z[l], first, r0, r1, layer->out);
    }
    if (!o->result) return;
    deliver(j, o->result, tr->tape.z[top], first, r0, r1, out);
    if (!o->raw)
        fbp_kernels_for(&tr->be, o->dtype)
            ->losses.output[tr->net.loss](fbp_at(o->result, (first + r0) * out, o->dtype), r1 - r0, out);
}

/* Rows are independent: every thread keeps to its own tiles of the arena, the same in all passes, so there is no
 * barrier between them. */
static void forward_task(void *context, int t) {
    fbp_job *j = context;
    const fbp_trainer *tr = j->tr;
    int64_t n = j->epoch->n, lo, hi, r0, r1;
    worker w = enter(j, t);
    pack_weights(&w);
    fbp_share(fbp_ceil_div(fbp_min(n, tr->pass), tr->tile), t, tr->n_threads, &lo, &hi);
    for (int64_t first = 0; first < n && !is_stopping(j); first += tr->pass) {
        fbp_pass p = pass_of(j, first, fbp_min(n - first, tr->pass), t);
        for (int64_t tile = lo; next_rows(tr, p.batch.n, hi, &tile, &r0, &r1) && goes_on(&w);) {
            fbp_net_forward(&p, r0, r1);
            deliver_rows(j, first, r0, r1);
        }
    }
    leave(&w);
}

void fbp_trainer_forward(fbp_trainer *tr, fbp_epoch *epoch, const fbp_output *output) {
    fbp_job j = job_of(tr, epoch);
    j.output = output;
    fbp_pool_run(tr->pool, forward_task, &j);
}
