/* step: the mini-batch loop. All threads of the team run the same step with barriers between its phases.
 * Tiles and the order of every sum depend on shapes alone, so the bits do not depend on the number of
 * threads. Phases of a pass over the arena, L layers:
 *     rows     gather (long rows are read in place), forward, loss, dz of the top hidden layers
 *                                                                       (row tiles, no barrier inside)
 *     weights  dW, db, and on the last pass of a mini-batch the update  (tiles of rows of W)
 * dz of hidden layer l lives in dz[l & 1], so only two hidden dz are alive at once: below the top two,
 * the phases alternate layer by layer. */
#define _GNU_SOURCE
#include <math.h>
#include <time.h>

#include "fastbp.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

enum {
    FLOPS_PER_LOOK = 8000000, /* about 50 us: looking at the clock at each step costs small nets 1% */
    FLOPS_OF_A_STEP = 20000,  /* as many as the time of a step without any work is worth */
    JOINED_ROWS = 1024        /* rows that go through the layers together where cuts are free */
};

/* ---- the floating-point state: denormals are zero while we compute ------------------------------ */

#if defined(__x86_64__)
static unsigned flush_denormals(void) {
    unsigned state = _mm_getcsr();
    _mm_setcsr(state | 0x8040); /* flush to zero, denormals are zero */
    return state;
}
static void restore_state(unsigned state) { _mm_setcsr(state); }
#elif defined(__aarch64__)
static unsigned flush_denormals(void) {
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    __asm__ volatile("msr fpcr, %0" ::"r"(state | (1u << 24)));
    return (unsigned)state;
}
static void restore_state(unsigned state) { __asm__ volatile("msr fpcr, %0" ::"r"((uint64_t)state)); }
#else
static unsigned flush_denormals(void) { return 0; }
static void restore_state(unsigned state) { (void)state; }
#endif

/* ---- the step ------------------------------------------------------------------------------------ */

typedef struct {
    fbp_trainer *tr;
    fbp_epoch *epoch;
    int backward; /* the gradient is wanted, not the loss alone */
    int updates;  /* params follow each mini-batch; otherwise the gradient is the result */
    void *grad;   /* n_params; NULL where every part of it is used at once */
    void *result; /* of a forward pass */
} job;

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *offset(void *base, int64_t index, const fbp_trainer *tr) {
    return base ? (char *)base + index * (int64_t)tr->backend.item : NULL;
}

static double weight_sum(const fbp_epoch *epoch, int64_t first, int64_t n) {
    const double *weight = epoch->data->weight;
    if (!weight)
        return (double)n;
    double sum = 0;
    for (int64_t i = first; i < first + n; i++) sum += weight[epoch->order ? epoch->order[i] : i];
    return sum;
}

/* Where the first layer finds the rows of a pass: those that already lie as the products want them need no gather,
 * CSR rows have products of their own, and others may be read where they are, if they need no conversion. */
static void find_rows(const fbp_trainer *tr, fbp_tape *tape, const fbp_rows *rows) {
    const fbp_data *data = rows->data;
    const fbp_layer *layer = &tr->net.layers[0];
    int64_t item = (int64_t)tr->backend.item;
    int as_is =
        !data->csr && data->x_dtype == tr->backend.dtype && (layer->in == 1 || data->col_stride == item);
    int in_place = as_is && !rows->order && data->row_stride == layer->in * item;
    int one_by_one = as_is && !in_place && layer->dense->takes_rows &&
                     layer->dense->takes_rows(&tr->backend, layer, tape->n);
    tape->x = in_place ? (const char *)data->x + rows->first * data->row_stride : tape->gathered;
    tape->rows = one_by_one ? rows : NULL;
    tape->csr = tr->csr ? rows : NULL;
}

/* The caller may have changed the parameters since the last call. */
static void pack_weights(const fbp_trainer *tr, void *params, int t) {
    for (int l = 0; l < tr->net.n_layers; l++) {
        const fbp_layer *layer = &tr->net.layers[l];
        int64_t lo, hi;
        fbp_share(layer->n_tiles, t, tr->n_threads, &lo, &hi);
        int i0 = fbp_tile_row(layer, lo), i1 = fbp_tile_row(layer, hi);
        if (i0 < i1 && layer->dense->pack)
            layer->dense->pack(&tr->backend, layer, offset(params, layer->W, tr), i0, i1);
    }
    fbp_pool_barrier(tr->pool);
}

/* The update of count parameters from `at` on; returns their sum of squares before it (alpha > 0). */
static double update_slice(const job *j, int64_t at, void *grad, int64_t count, const fbp_update *update) {
    const fbp_trainer *tr = j->tr;
    void **state = j->epoch->state;
    return tr->backend.kernels->update[tr->optimizer](offset(j->epoch->params, at, tr), grad,
                                                      offset(state[0], at, tr), offset(state[1], at, tr),
                                                      count, update);
}

/* dW, db of layer l from all rows, this thread's part; `update` set: and the step that follows. */
static void weights_phase(const job *j, const fbp_tape *tape, int l, int t, int accumulate,
                          const fbp_update *update) {
    const fbp_trainer *tr = j->tr;
    const fbp_backend *be = &tr->backend;
    const fbp_layer *layer = &tr->net.layers[l];
    void *scratch = tape->scratch + (size_t)t * tape->scratch_bytes,
         *W = offset(j->epoch->params, layer->W, tr);
    void *part = j->grad ? NULL : tape->grad_part + (size_t)t * tape->grad_part_bytes;
    int64_t lo, hi;
    fbp_share(layer->n_tiles, t, tr->n_threads, &lo, &hi);
    for (int64_t groups = fbp_ceil_div(hi - lo, layer->joined); groups > 0; groups--) {
        int64_t end = lo + (hi - lo) / groups;
        int i0 = fbp_tile_row(layer, lo), i1 = fbp_tile_row(layer, end), k0 = i0, k1;
        int64_t at = layer->W + (int64_t)i0 * layer->out;
        char *dW = j->grad ? offset(j->grad, at, tr) : part;
        fbp_net_weight_grad(&tr->net, be, tape, dW, l, i0, i1, accumulate, scratch, groups == 1);
        for (; update && lo < end; lo++, k0 = k1) {
            k1 = lo + 1 < end ? fbp_tile_row(layer, lo + 1) : i1;
            int64_t count = (int64_t)(k1 - k0) * layer->out;
            tape->square_part[layer->tile0 + lo] = update_slice(j, at, dW, count, update);
            at += count;
            dW += count * (int64_t)be->item;
        }
        if (update && j->updates && layer->dense->pack)
            layer->dense->pack(be, layer, W, i0, i1);
        lo = end;
    }
    fbp_share(fbp_ceil_div(layer->out, 64), t, tr->n_threads, &lo, &hi); /* a column's sum is one thread's */
    int j0 = (int)lo * 64, j1 = hi * 64 < layer->out ? (int)hi * 64 : layer->out;
    if (j0 >= j1)
        return;
    char *db = j->grad ? offset(j->grad, layer->b, tr) : part;
    fbp_net_bias_grad(&tr->net, be, tape, db, l, j0, j1, accumulate);
    if (update) {
        fbp_update plain = *update;
        plain.alpha = 0;
        update_slice(j, layer->b + j0, db + j0 * (int64_t)be->item, j1 - j0, &plain);
    }
}

/* Row tiles lo..hi of a pass, a few at a time: r0..r1 are rows that may go through the layers together. */
static int next_rows(const fbp_trainer *tr, int64_t n, int64_t hi, int64_t *tile, int64_t *r0, int64_t *r1) {
    int64_t joined = tr->net.layers[0].dense->free_cut ? JOINED_ROWS / tr->tile : 1;
    if (*tile >= hi)
        return 0;
    int64_t end = *tile + (joined < 1 ? 1 : joined);
    end = end < hi ? end : hi;
    *r0 = *tile * tr->tile;
    *r1 = end * tr->tile < n ? end * tr->tile : n;
    *tile = end;
    return *r0 < n;
}

/* One pass over the arena. Returns the weighted loss sum of its rows: the same in every thread. */
static double run_pass(const job *j, fbp_tape *tape, const fbp_rows *rows, int t, int accumulate,
                       const fbp_update *update) {
    const fbp_trainer *tr = j->tr;
    const fbp_net *net = &tr->net;
    const void *params = j->epoch->params;
    void *scratch = tape->scratch + (size_t)t * tape->scratch_bytes;
    int top = net->n_layers - 1;
    int64_t tiles = fbp_ceil_div(tape->n, tr->tile), lo, hi, r0, r1;

    fbp_share(tiles, t, tr->n_threads, &lo, &hi);
    for (int64_t tile = lo, first = lo; next_rows(tr, tape->n, hi, &tile, &r0, &r1); first = tile) {
        fbp_net_forward(net, &tr->backend, tape, params, rows, r0, r1, scratch, tape->z[top]);
        for (int64_t i = first; i < tile; i++) {
            int64_t end = (i + 1) * tr->tile < r1 ? (i + 1) * tr->tile : r1;
            tape->loss_part[i] = fbp_net_loss(net, &tr->backend, tape, rows, i * tr->tile, end);
        }
        for (int l = top; j->backward && l >= net->rows_down_to; l--)
            fbp_net_input_grad(net, &tr->backend, tape, params, l, r0, r1, scratch);
    }
    fbp_pool_barrier(tr->pool);
    double loss = 0;
    for (int64_t tile = 0; tile < tiles; tile++) loss += tape->loss_part[tile];
    if (!j->backward || (j->updates && !isfinite(loss))) {
        fbp_pool_barrier(tr->pool); /* loss_part may be written again only when all have read it */
        return loss;
    }

    for (int l = top; l >= 0; l--) {
        if (l >= 1 && l < net->rows_down_to) {
            fbp_pool_barrier(tr->pool); /* dz of layer l+1 is read no more */
            for (int64_t tile = lo; next_rows(tr, tape->n, hi, &tile, &r0, &r1);)
                fbp_net_input_grad(net, &tr->backend, tape, params, l, r0, r1, scratch);
            fbp_pool_barrier(tr->pool); /* W_l is read no more, dz of layer l-1 is whole */
        }
        weights_phase(j, tape, l, t, accumulate, update);
    }
    fbp_pool_barrier(tr->pool);
    return loss;
}

/* beta^t of Adam's bias corrections: by pow at every 64th t and by multiplication between: the same bits
 * wherever a call begins */
enum { POWERS = 64 };
static double power(double beta, int64_t t, double before) {
    return t % POWERS ? before * beta : pow(beta, (double)t);
}
static double power_from_scratch(double beta, int64_t t) {
    double p = 1;
    for (int64_t i = t - t % POWERS; i <= t; i++) p = power(beta, i, p);
    return p;
}

static fbp_update update_of(const fbp_epoch *e, fbp_optimizer optimizer, double mass, double power_1,
                            double power_2) {
    fbp_update u = {e->alpha / mass, e->learning_rate, e->momentum, e->beta_1, e->beta_2, e->epsilon};
    if (optimizer == FBP_OPT_adam)
        u.rate *= sqrt(1 - power_2) / (1 - power_1);
    return u;
}

/* The rows that thread t will read for the mini-batch of rows first..first+n; none if their order is that of X,
 * or the mini-batch takes several passes. */
static fbp_coming coming_rows(const fbp_trainer *tr, const fbp_epoch *e, int64_t first, int64_t n, int t) {
    fbp_coming coming = {.rows = {.data = e->data, .order = e->order, .first = first}};
    int64_t item = e->data->x_dtype == FBP_F32 ? 4 : 8, lo, hi;
    if (e->order && !e->data->csr && e->data->col_stride == item && n > 0 && n <= tr->pass) {
        fbp_share(fbp_ceil_div(n, tr->tile), t, tr->n_threads, &lo, &hi);
        coming.at = lo * tr->tile;
        coming.end = hi * tr->tile < n ? hi * tr->tile : n;
    }
    return coming;
}

/* The mini-batch of rows first..first+n, whose weights sum to mass: every pass, then the sums. */
static double run_batch(const job *j, int64_t first, int64_t n, double mass, int t,
                        const fbp_update *update) {
    const fbp_trainer *tr = j->tr;
    const fbp_epoch *e = j->epoch;
    double loss = 0, squares = 0;
    int64_t after = first + n, left = e->n - after;
    fbp_coming coming = coming_rows(tr, e, after, left < n ? left : n, t);
    for (int64_t p = 0; p < n; p += tr->pass) {
        fbp_tape tape = tr->tape;
        tape.n = n - p < tr->pass ? n - p : tr->pass;
        fbp_rows rows = {e->data, e->order, first + p, 1 / mass, e->clip};
        find_rows(tr, &tape, &rows);
        tape.coming = &coming;
        loss += run_pass(j, &tape, &rows, t, p > 0, p + tape.n == n ? update : NULL);
        if (j->updates && !isfinite(loss))
            return loss;
    }
    if (e->alpha > 0 && j->backward) {
        const fbp_layer *top = &tr->net.layers[tr->net.n_layers - 1];
        for (int i = 0; i < top->tile0 + top->n_tiles; i++) squares += tr->tape.square_part[i];
    } else if (e->alpha > 0 && t == 0) {
        squares = tr->backend.kernels->square_sum(e->params, tr->net.n_weights);
    }
    return (loss * e->loss_scale + 0.5 * e->alpha * squares) / mass;
}

static void epoch_task(void *context, int t) {
    const job *j = context;
    fbp_epoch *e = j->epoch;
    int64_t row = e->row, steps = e->t;
    unsigned state = flush_denormals();
    double start = t == 0 ? seconds_now() : 0, flops = 0; /* since the last look at the clock */
    double power_1 = power_from_scratch(e->beta_1, steps), power_2 = power_from_scratch(e->beta_2, steps);
    int go_on = 1;

    pack_weights(j->tr, e->params, t);
    while (go_on && row < e->n) {
        int64_t n = e->n - row < e->batch ? e->n - row : e->batch;
        double mass = weight_sum(e, row, n);
        if (mass != 0) { /* nothing to learn from rows without weight */
            power_1 = power(e->beta_1, steps + 1, power_1);
            power_2 = power(e->beta_2, steps + 1, power_2);
            fbp_update update = update_of(e, j->tr->optimizer, mass, power_1, power_2);
            double loss = run_batch(j, row, n, mass, t, &update);
            go_on = isfinite(loss);
            if (t == 0)
                e->loss_sum += loss * (double)n;
            if (!go_on)
                break;
            steps++;
            flops += FLOPS_OF_A_STEP + 6.0 * (double)n * (double)j->tr->net.n_weights;
            if (t == 0 && flops > FLOPS_PER_LOOK) {
                e->pause = seconds_now() - start > e->seconds;
                flops = 0;
            }
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
    restore_state(state);
}

void fbp_trainer_epoch(fbp_trainer *tr, fbp_epoch *epoch) {
    job j = {tr, epoch, .backward = 1, .updates = 1, .grad = tr->grad};
    epoch->pause = 0;
    fbp_pool_run(tr->pool, epoch_task, &j);
}

static void value_grad_task(void *context, int t) {
    const job *j = context;
    fbp_epoch *e = j->epoch;
    unsigned state = flush_denormals();
    double mass = weight_sum(e, 0, e->n);
    fbp_update update = {.alpha = e->alpha / mass};
    pack_weights(j->tr, e->params, t);
    double loss = run_batch(j, 0, e->n, mass, t, &update);
    if (t == 0)
        e->loss_sum = loss;
    restore_state(state);
}

double fbp_trainer_value_grad(fbp_trainer *tr, fbp_epoch *epoch, void *grad) {
    job j = {tr, epoch, .backward = grad != NULL, .grad = grad};
    fbp_pool_run(tr->pool, value_grad_task, &j);
    return epoch->loss_sum;
}

/* Rows are independent: every thread keeps to its own tiles of the arena, so there is no barrier. */
static void forward_task(void *context, int t) {
    const job *j = context;
    const fbp_trainer *tr = j->tr;
    const fbp_epoch *e = j->epoch;
    const fbp_net *net = &tr->net;
    int out = net->layers[net->n_layers - 1].out;
    int64_t lo, hi;
    unsigned state = flush_denormals();
    pack_weights(tr, e->params, t);
    void *scratch = tr->tape.scratch + (size_t)t * tr->tape.scratch_bytes;
    fbp_share(fbp_ceil_div(tr->pass, tr->tile), t, tr->n_threads, &lo, &hi);
    for (int64_t first = 0; first < e->n; first += tr->pass) {
        fbp_tape tape = tr->tape;
        fbp_rows rows = {e->data, e->order, first, 1, 0};
        void *result = offset(j->result, first * out, tr);
        int64_t r0, r1;
        tape.n = e->n - first < tr->pass ? e->n - first : tr->pass;
        find_rows(tr, &tape, &rows);
        for (int64_t tile = lo; next_rows(tr, tape.n, hi, &tile, &r0, &r1);) {
            fbp_net_forward(net, &tr->backend, &tape, e->params, &rows, r0, r1, scratch, result);
            tr->backend.kernels->output[net->loss](offset(result, r0 * out, tr), r1 - r0, out);
        }
    }
    restore_state(state);
}

void fbp_trainer_forward(fbp_trainer *tr, fbp_epoch *epoch, void *result) {
    job j = {tr, epoch, .result = result};
    fbp_pool_run(tr->pool, forward_task, &j);
}
