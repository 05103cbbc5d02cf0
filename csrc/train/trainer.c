/* The life of a trainer. Measure and carve are one function, lay_out: run on arenas without a block it counts, run
 * on real ones it hands out pointers. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"

/* Packed kernels were measured (bench/products.py) to be faster at every level of x86-64; elsewhere their tiles are
 * untuned. FASTBP_DENSE=blas or packed decides otherwise; where there is no BLAS, nothing does. */
static int packs(const fbp_blas *blas) {
    if (!blas) return 1;
    const char *forced = getenv("FASTBP_DENSE");
    if (forced && (strcmp(forced, "blas") == 0 || strcmp(forced, "packed") == 0)) return strcmp(forced, "packed") == 0;
#if defined(__x86_64__)
    return 1;
#else
    return 0;
#endif
}

/* the largest power of two <= x, within 1..FBP_ROW_TILES */
static int tiles_for(double x) {
    int tiles = 1;
    while (tiles < FBP_ROW_TILES && 2 * tiles <= x) tiles *= 2;
    return tiles;
}

static int threads_worth(const fbp_trainer *tr, int most) {
    double flops = (tr->forward_only ? 2.0 : 6.0) * (double)tr->pass * (double)tr->net.n_products;
    double worth = flops / FBP_FLOPS_PER_THREAD;
    int n = worth < 1 ? 1 : worth > FBP_ROW_TILES ? FBP_ROW_TILES : (int)worth;
    return n < most ? n : most;
}

/* Weight tiles are what squares of weights are summed over. Where cuts are free they are small and of even
 * number, to share them evenly between two threads or four; otherwise each is a BLAS call of its own. */
static void cut_weights(const fbp_trainer *tr, fbp_layer *layer, int is_first) {
    if (layer->cuts) return;
    double flops = 2 * (double)tr->pass * layer->in * layer->out;
    int64_t tiles = tiles_for(flops / FBP_FLOPS_PER_TILE);
    int cut_invariant = tr->be.packed && layer->kind->cut_invariant;
    layer->tile_unit = !cut_invariant ? FBP_WEIGHT_TILE : is_first ? 1 : FBP_WEIGHT_UNIT;
    if (cut_invariant)
        tiles = layer->in < FBP_WEIGHT_UNIT || threads_worth(tr, 2) < 2
                    ? 1
                    : 2 * fbp_ceil_div(layer->in, 2 * FBP_WEIGHT_TILE);
    layer->units = (int)fbp_ceil_div(layer->in, layer->tile_unit);
    layer->n_tiles = (int)fbp_min(tiles, layer->units);
    layer->tile_rows = (int)fbp_ceil_div(layer->units, layer->n_tiles) * layer->tile_unit;
    int64_t numbers = layer->kind->reads_entries ? FBP_JOINED_SPARSE : FBP_JOINED_WEIGHTS;
    int64_t joined = fbp_max(numbers / ((int64_t)layer->tile_rows * layer->out), 4);
    double at_once = FBP_FLOPS_AT_ONCE / (2.0 * (double)tr->pass * layer->tile_rows * layer->out);
    layer->joined = !cut_invariant || at_once < 1 ? 1 : at_once < (double)joined ? (int64_t)at_once : joined;
}

/* Of an encoded layer whole columns make a tile, since their gradients are summed up from knot to knot; only one of
 * categories can be cut. Returns the number of tiles; cuts: NULL or room for them and the end. */
static int cut_columns(const fbp_encoding *e, int *cuts) {
    int n = 0, begin = 0, end = fbp_encoding_rows(e);
    for (int c = 0, to; begin < end; begin = to) {
        if (cuts) cuts[n] = begin;
        for (to = begin; to - begin < FBP_ENCODED_TILE && c < e->n_columns;) {
            const fbp_column *column = &e->columns[c];
            int column_end = column->first + column->rows;
            int cut = column->knots ? column_end : (int)fbp_min(column_end, begin + FBP_ENCODED_TILE);
            if (to > begin && cut - begin > FBP_ENCODED_TILE) break;
            to = cut;
            c += to == column_end;
        }
        n++;
    }
    if (cuts) cuts[n] = end;
    return n;
}

static void cut_encoded(fbp_layer *layer, int *cuts) {
    layer->n_tiles = cut_columns(layer->encoding, cuts);
    layer->cuts = cuts;
    layer->joined = 1; /* made, used and tabulated one by one, while in the L2 cache */
    for (int i = 0; i < layer->n_tiles; i++) layer->tile_rows = (int)fbp_max(layer->tile_rows, cuts[i + 1] - cuts[i]);
}

/* Losses are summed row tile by row tile. */
static void cut_tiles(fbp_trainer *tr) {
    int before = 0, row_tile = tr->be.packed ? FBP_ROW_TILE_PACKED : FBP_ROW_TILE_BLAS;
    double at_once = FBP_FLOPS_AT_ONCE / (2.0 * (double)tr->net.n_products);
    tr->joined_rows = at_once < FBP_JOINED_ROWS ? fbp_max((int64_t)at_once, FBP_LEAST_JOINED_ROWS) : FBP_JOINED_ROWS;
    tr->tile = fbp_min(fbp_ceil_div(tr->pass, tiles_for((double)tr->pass / row_tile)), tr->joined_rows);
    if (tr->be.direct) tr->tile = FBP_DIRECT_ROWS;
    for (int l = 0; l < tr->net.n_layers; l++) {
        fbp_layer *layer = &tr->net.layers[l];
        cut_weights(tr, layer, l == 0);
        layer->tile0 = before;
        before += layer->n_tiles;
    }
}

/* What a mini-batch keeps from one phase to the next, and nothing longer. */
static void lay_out_arena(fbp_trainer *tr) {
    fbp_arena *arena = &tr->arena;
    const fbp_net *net = &tr->net;
    fbp_tape *tape = &tr->tape;
    fbp_dtype dtype = tr->be.kernels->dtype;
    size_t item = fbp_item(dtype), dz_bytes[2] = {0, 0};
    int top = net->n_layers - 1, training = !tr->forward_only, gathers = !net->layers[0].kind->reads_entries;
    int64_t n = tr->pass;
    const fbp_layer *last = &net->layers[top];

    tr->scratch_bytes = 0;
    for (int l = 0; l <= top; l++) {
        const fbp_layer *layer = &net->layers[l];
        size_t (*scratch)(const fbp_backend *, const fbp_layer *, int, int64_t, int64_t, int *) = layer->kind->scratch;
        size_t bytes = scratch ? scratch(&tr->be, layer, l, tr->tile, training ? n : 0, &arena->overflow) : 0;
        tr->scratch_bytes = bytes > tr->scratch_bytes ? bytes : tr->scratch_bytes;
    }
    tape->fetched.x = gathers ? fbp_arena_take(arena, "x", -1, n, net->features, item) : NULL;
    tr->scratch = fbp_arena_take_bytes(arena, "scratch", -1, tr->n_threads, tr->scratch_bytes);
    /* Each layer has its own z in a forward pass too, since threads are in different layers. */
    if (training) {
        tape->fetched.y = fbp_arena_take(arena, "y", -1, n, net->targets, item);
        tape->fetched.weight = fbp_arena_take(arena, "weight", -1, n, 1, sizeof(double));
    }
    for (int l = 0; l <= top; l++) tape->z[l] = fbp_arena_take(arena, "z", l, n, net->layers[l].out, item);
    if (!training) return;
    for (int l = 0; l < top; l++) {
        const fbp_pass p = {.net = net, .be = &tr->be, .tape = tape, .batch = {.n = n}};
        fbp_operand dz = fbp_pass_dz(&p, l);
        size_t bytes = fbp_operand_bytes(&dz, &arena->overflow);
        dz_bytes[l & 1] = bytes > dz_bytes[l & 1] ? bytes : dz_bytes[l & 1];
    }
    for (int i = 0; i < 2; i++) tape->dz[i] = fbp_arena_take_bytes(arena, "dz", i, 1, dz_bytes[i]);
    tape->dz_top = tape->z[top];
    if (tr->be.packed) {
        fbp_operand dz = fbp_in_panels(NULL, dtype, FBP_PANELS, n, last->out, tr->be.kernels->gemm.nr);
        tape->dz_top = fbp_arena_take_bytes(arena, "dz_top", -1, 1, fbp_operand_bytes(&dz, &arena->overflow));
    }
    int64_t row_tiles = fbp_max(fbp_ceil_div(n, tr->tile), FBP_ROW_TILES);
    tr->loss_part = fbp_arena_take(arena, "loss", -1, row_tiles, 1, sizeof(double));
    int64_t weight_tiles = last->tile0 + last->n_tiles;
    tr->square_part = fbp_arena_take(arena, "squares", -1, weight_tiles, 1, sizeof(double));
    if (tr->keep_grad)
        tr->norm_part = fbp_arena_take(arena, "norm", -1, weight_tiles + net->n_layers, 1, sizeof(double));
    if (tr->asks) {
        tape->d_output = fbp_arena_take(arena, "d_output", -1, n, last->out, item);
        tape->row_loss = fbp_arena_take(arena, "row_loss", -1, n, 1, sizeof(double));
    }
}

/* What is kept from one mini-batch to the next: the gradient or pieces of it, and the layers' copies of W. */
static void lay_out_kept(fbp_trainer *tr) {
    fbp_arena *kept = &tr->kept;
    size_t item = fbp_item(tr->be.kernels->dtype);
    int training = !tr->forward_only;
    tr->grad = NULL;
    tr->part_bytes = 0;
    if (tr->optimizer != FBP_OPT_none && training && tr->grad_is_whole) {
        tr->grad = fbp_arena_take(kept, "grad", -1, tr->net.n_params + (tr->reduces != 0), 1, item);
    } else if (tr->optimizer != FBP_OPT_none && training) {
        int64_t part = 0; /* numbers */
        for (int l = 0; l < tr->net.n_layers; l++) {
            const fbp_layer *layer = &tr->net.layers[l];
            int64_t tiles = fbp_min(layer->joined, fbp_ceil_div(layer->n_tiles, tr->n_threads));
            part = fbp_max(part, fbp_max(tiles * layer->tile_rows, 1) * (layer->out + (layer->s != NULL)));
        }
        tr->part_bytes = fbp_size(part, 1, item, &kept->overflow);
        tr->part = fbp_arena_take_bytes(kept, "grad", -1, tr->n_threads, tr->part_bytes);
    }
    for (int l = 0; l < tr->net.n_layers; l++) {
        fbp_layer *layer = &tr->net.layers[l];
        layer->w = layer->w_T = (fbp_operand){0};
        int input_grad = training && (l > 0 || tr->grad_x);
        if (layer->kind->lay_out) layer->kind->lay_out(&tr->be, layer, kept, l, input_grad);
    }
}

static void lay_out(fbp_trainer *tr, const fbp_config *config, int64_t pass, int n_threads) {
    fbp_arena *arena = &tr->arena, *kept = &tr->kept;
    arena->cursor = kept->cursor = 0;
    arena->overflow = kept->overflow = arena->n_rows = kept->n_rows = 0;
    tr->pass = pass;
    tr->n_threads = n_threads;
    /* few rows do not pay for packing the weights */
    tr->be.direct = tr->forward_only && (pass < FBP_PACKED_MIN_ROWS || tr->be.param_dtype != config->dtype);
    tr->be.packed = packs(config->blas) && !tr->be.direct;
    for (int l = 0; l < tr->net.n_layers; l++)
        tr->net.layers[l].kind = fbp_layer_kind_of(&tr->be, &tr->net.layers[l], l, config->sparse, tr->grad_x);
    cut_tiles(tr);
    lay_out_kept(tr); /* first: layers decide how their operands lie */
    lay_out_arena(tr);
}

static int fits(fbp_trainer *tr, const fbp_config *config, int64_t pass, int n_threads) {
    lay_out(tr, config, pass, n_threads);
    return !config->max_memory || (!tr->arena.overflow && tr->arena.cursor <= config->max_memory);
}

/* Beside the arena, laid out for one thread: as many passes as there may be do not matter. */
static int grad_is_small(const fbp_trainer *tr) {
    double bytes = (double)tr->net.n_params * (double)fbp_item(tr->be.kernels->dtype);
    return FBP_SMALL_SHARE * bytes <= (double)tr->arena.cursor;
}

/* Is the gradient of a mini-batch kept until it is whole? Several passes or ranks add it up. One pass uses it piece by piece, as
 * it is made; but a mini-batch that has begun to do so cannot be given up, and a slow one ought to hear its caller. */
static int keeps_grad(const fbp_trainer *tr) {
    double flops = 6.0 * (double)tr->pass * (double)tr->net.n_products;
    return tr->keep_grad || tr->reduces || tr->pass < tr->batch || (flops > FBP_SLOW_FLOPS && grad_is_small(tr));
}

/* The rows of a pass if memory does not matter: as many as a mini-batch has, or as a weight tile can take at once if
 * a whole gradient is small then. */
static int64_t most_rows(fbp_trainer *tr, const fbp_config *config) {
    int64_t most = fbp_min(tr->batch, config->max_rows ? config->max_rows : INT_MAX), widest = 1;
    most = fbp_min(most, INT_MAX);
    if (tr->forward_only) return most;
    lay_out(tr, config, most, 1);
    for (int l = 0; l < tr->net.n_layers; l++)
        widest = fbp_max(widest, (int64_t)tr->net.layers[l].tile_rows * tr->net.layers[l].out);
    double at_once = FBP_FLOPS_AT_ONCE / (2.0 * (double)widest);
    if (at_once >= (double)most) return most;
    lay_out(tr, config, fbp_max((int64_t)at_once, 1), 1);
    return tr->optimizer == FBP_OPT_none || grad_is_small(tr) ? tr->pass : most;
}

/* The most rows of a pass, up to `most`, whose arena for n_threads keeps within max_memory; 0 if not even one does. */
static int64_t rows_within(fbp_trainer *tr, const fbp_config *config, int64_t most, int n_threads) {
    int64_t low = 0;
    if (fits(tr, config, most, n_threads)) return most;
    while (low < most) { /* low fits, most + 1 does not */
        int64_t middle = low + (most - low + 1) / 2;
        if (fits(tr, config, middle, n_threads))
            low = middle;
        else
            most = middle - 1;
    }
    return low;
}

/* Rows of a pass and threads. The rows leave room for FBP_SPARE_THREADS, or as many as take no more than half of them,
 * whatever the number of threads asked for, so that results do not depend on it; threads are as many as then fit and
 * are worth it. */
static int64_t choose_pass(fbp_trainer *tr, const fbp_config *config, int *n_threads) {
    int64_t rows = most_rows(tr, config), most = rows_within(tr, config, rows, 1), pass = 0;
    for (int spare = FBP_SPARE_THREADS; most && 2 * pass < most; spare /= 2)
        pass = rows_within(tr, config, rows, spare);
    *n_threads = 1;
    if (pass) {
        fits(tr, config, pass, 1);
        tr->grad_is_whole = keeps_grad(tr);
        *n_threads = threads_worth(tr, config->n_threads);
        while (*n_threads > 1 && !fits(tr, config, pass, *n_threads)) --*n_threads;
    }
    return pass;
}

/* The net's own copy of what its loss is told. */
static void set_loss(fbp_net *net, const fbp_config *config, double *numbers) {
    net->label_smoothing = config->label_smoothing;
    if (!config->loss_params) return;
    memcpy(numbers, config->loss_params, (size_t)config->widths[config->n_layers] * sizeof *numbers);
    net->loss_params = numbers;
}

/* The trainer and what describes its net, in one block: rows of the plan are at most 16 and three for each layer. */
static fbp_trainer *new_block(const fbp_config *config, fbp_layer **layers, fbp_param **params) {
    size_t n = (size_t)config->n_layers, rows = 3 * n + 16;
    size_t n_params = (size_t)fbp_params_count(config->n_layers, 1);
    size_t n_cuts = config->encoding ? (size_t)cut_columns(config->encoding, NULL) + 1 : 0;
    size_t numbers = config->loss_params ? (size_t)config->widths[n] : 0;
    fbp_trainer *tr = calloc(1, sizeof *tr + n * (sizeof **layers + sizeof(void *)) + n_params * sizeof **params +
                                    2 * rows * sizeof(fbp_plan_row) + numbers * sizeof(double) + n_cuts * sizeof(int));
    if (!tr) return NULL;
    *layers = (fbp_layer *)(tr + 1);
    *params = (fbp_param *)(*layers + n);
    tr->arena.rows = (fbp_plan_row *)(*params + n_params);
    tr->kept.rows = tr->arena.rows + rows;
    tr->arena.max_rows = tr->kept.max_rows = (int)rows;
    tr->tape.z = (void **)(tr->kept.rows + rows);
    return tr;
}

static fbp_status allocate(fbp_trainer *tr, const fbp_config *config) {
    fbp_status status = fbp_arena_alloc(&tr->arena, tr->arena.cursor);
    if (status == FBP_OK) status = fbp_arena_alloc(&tr->kept, tr->kept.cursor);
    lay_out(tr, config, tr->pass, tr->n_threads); /* after a failure too: the plan says what was asked for */
    if (status != FBP_OK) return status;
    return fbp_pool_new(&tr->pool, tr->n_threads);
}

fbp_status fbp_trainer_new(fbp_trainer **out, const fbp_config *config, int measure) {
    fbp_layer *layers;
    fbp_param *params;
    fbp_trainer *tr = *out = new_block(config, &layers, &params);
    if (!tr) return FBP_ENOMEM;
    tr->be = (fbp_backend){.kernels = fbp_kernels_of(config->dtype),
                           .kernels_f64 = fbp_kernels_of(FBP_F64),
                           .param_dtype = config->params_f32 ? FBP_F32 : config->dtype,
                           .blas = config->blas};
    tr->optimizer = config->optimizer;
    tr->forward_only = config->forward_only;
    tr->keep_grad = config->keep_grad;
    tr->reduces = config->reduces;
    tr->asks = config->asks;
    tr->grad_x = config->input_grad;
    tr->batch = config->batch;
    if (fbp_net_init(&tr->net, layers, params, config) != FBP_OK) return FBP_EOVERFLOW;
    double *numbers = (double *)(tr->tape.z + config->n_layers);
    set_loss(&tr->net, config, numbers);
    if (config->encoding)
        cut_encoded(&layers[0], (int *)(numbers + (config->loss_params ? config->widths[config->n_layers] : 0)));
    int n_threads;
    int64_t pass = choose_pass(tr, config, &n_threads);
    lay_out(tr, config, pass ? pass : 1, n_threads);
    if (tr->arena.overflow || tr->kept.overflow) return FBP_EOVERFLOW;
    if (pass == 0) return FBP_ETOOSMALL;
    return measure ? FBP_OK : allocate(tr, config);
}

void fbp_trainer_free(fbp_trainer *tr) {
    if (!tr) return;
    fbp_pool_free(tr->pool);
    fbp_arena_free(&tr->arena);
    fbp_arena_free(&tr->kept);
    free(tr);
}

void fbp_trainer_forget_team(fbp_trainer *tr) {
    fbp_pool_forget(tr->pool);
    tr->pool = NULL;
}

fbp_status fbp_trainer_start_team(fbp_trainer *tr) { return fbp_pool_new(&tr->pool, tr->n_threads); }

fbp_plan fbp_trainer_plan(const fbp_trainer *tr) {
    return (fbp_plan){.arena_rows = tr->arena.rows,
                      .kept_rows = tr->kept.rows,
                      .n_arena_rows = tr->arena.n_rows,
                      .n_kept_rows = tr->kept.n_rows,
                      .arena_bytes = tr->arena.cursor,
                      .kept_bytes = tr->kept.cursor,
                      .arena = tr->arena.base,
                      .batch_rows = tr->pass,
                      .n_threads = tr->n_threads,
                      .n_params = tr->net.n_params,
                      .products = tr->be.packed   ? "packed"
                                  : tr->be.direct ? "direct"
                                                  : "blas"};
}
