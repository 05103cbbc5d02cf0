/* trainer: the life of arena, store and team. Measure and carve are one function, lay_out: run on arenas
 * without a block it counts, run on real ones it hands out pointers. What a fit will do with them is in
 * step.c. */
#include <limits.h>
#include <stdlib.h>

#include "fastbp.h"

enum {
    ROW_TILES = 64,            /* at most; losses are summed tile by tile */
    WEIGHT_TILE = 32,          /* rows of W, about; a multiple of every panel */
    WEIGHT_UNIT = 16,          /* rows of W whose transposes fill whole vectors */
    JOINED_WEIGHTS = 65536,    /* numbers of dW that are made, used and packed while in the L2 cache */
    JOINED_SPARSE = 262144,    /* the same for a sparse first layer: each part of dW reads all entries of X */
    FLOPS_PER_TILE = 1 << 21,  /* of a BLAS call for the weight gradient */
    SPARE_THREADS = 8,         /* whose scratch max_memory leaves room for */
    FEW_ROWS = 64,             /* predictions of fewer rows do not pay for packing the weights */
    FLOPS_PER_THREAD = 2000000 /* about 15 us of work pays for the barriers of a step */
};

/* the largest power of two <= x, within 1..ROW_TILES */
static int tiles_for(double x) {
    int tiles = 1;
    while (tiles < ROW_TILES && 2 * tiles <= x) tiles *= 2;
    return tiles;
}

static int threads_worth(const fbp_trainer *tr, int most) {
    double flops = (tr->forward_only ? 2.0 : 6.0) * (double)tr->pass * (double)tr->net.n_weights;
    double worth = flops / FLOPS_PER_THREAD;
    int n = worth < 1 ? 1 : worth > ROW_TILES ? ROW_TILES : (int)worth;
    return n < most ? n : most;
}

/* Weight tiles are what squares of weights are summed over. Where cuts are free they are small and of even
 * number, to share them evenly between two threads or four; otherwise each is a BLAS call of its own. */
static void cut_weights(const fbp_trainer *tr, fbp_layer *layer) {
    double flops = 2 * (double)tr->pass * layer->in * layer->out;
    int64_t tiles = tiles_for(flops / FLOPS_PER_TILE);
    int is_first = layer->W == 0;
    layer->tile_unit = WEIGHT_TILE;
    layer->joined = 1;
    if (layer->dense->free_cut) {
        tiles = layer->in < WEIGHT_UNIT || threads_worth(tr, 2) < 2
                    ? 1
                    : 2 * fbp_ceil_div(layer->in, 2 * WEIGHT_TILE);
        layer->tile_unit = is_first ? 1 : WEIGHT_UNIT;
    }
    layer->units = (int)fbp_ceil_div(layer->in, layer->tile_unit);
    layer->n_tiles = (int)fbp_min(tiles, layer->units);
    layer->tile_rows = (int)fbp_ceil_div(layer->units, layer->n_tiles) * layer->tile_unit;
    if (layer->dense->free_cut)
        layer->joined = fbp_max((is_first && tr->csr ? JOINED_SPARSE : JOINED_WEIGHTS) /
                                    ((int64_t)layer->tile_rows * layer->out),
                                4);
}

/* Losses are summed row tile by row tile. */
static void cut_tiles(fbp_trainer *tr) {
    int before = 0;
    tr->tile = fbp_ceil_div(tr->pass, tiles_for((double)tr->pass / tr->net.layers[0].dense->row_tile));
    for (int l = 0; l < tr->net.n_layers; l++) {
        fbp_layer *layer = &tr->net.layers[l];
        cut_weights(tr, layer);
        layer->tile0 = before;
        before += layer->n_tiles;
    }
}

static void *take_bytes(fbp_arena *arena, const char *name, int l, int64_t rows, size_t bytes) {
    return bytes ? fbp_arena_take(arena, name, l, rows, (int64_t)bytes, 1) : NULL;
}

static void lay_out(fbp_trainer *tr, int64_t pass, int n_threads) {
    fbp_arena *arena = &tr->arena, *store = &tr->store;
    fbp_net *net = &tr->net;
    fbp_tape *tape = &tr->tape;
    const fbp_backend *be = &tr->backend;
    int top = net->n_layers - 1, training = !tr->forward_only, *overflow = &arena->overflow;
    int64_t part = 0; /* numbers */
    size_t dz[2] = {0, 0};

    arena->cursor = store->cursor = 0;
    arena->n_rows = 0;
    tr->pass = pass;
    tr->n_threads = n_threads;
    for (int l = 0; l <= top; l++)
        net->layers[l].dense = tr->forward_only && pass < FEW_ROWS ? &fbp_dense_blas : fbp_dense_of();
    cut_tiles(tr);
    tape->scratch_bytes = 0;
    for (int l = 0; l <= top; l++) {
        fbp_layer *layer = &net->layers[l];
        size_t scratch = layer->dense->scratch_size(be, layer, tr->tile, training ? pass : 1, overflow);
        size_t bytes = layer->dense->dz_size(be, pass, layer->out, overflow);
        if (scratch > tape->scratch_bytes && (l || !tr->csr))
            tape->scratch_bytes = scratch;
        if (l < top && bytes > dz[l & 1])
            dz[l & 1] = bytes;
        int64_t rows = fbp_min(layer->joined, fbp_ceil_div(layer->n_tiles, n_threads)) * layer->tile_rows;
        part = fbp_max(part, fbp_max(rows * layer->out, layer->out));
    }

    tape->gathered = tr->csr ? NULL : fbp_arena_take(arena, "x", -1, pass, net->layers[0].in, be->item);
    tape->scratch = take_bytes(arena, "scratch", -1, tr->n_threads, tape->scratch_bytes);
    if (training) {
        const fbp_layer *last = &net->layers[top];
        tape->y = fbp_arena_take(arena, "y", -1, pass, last->out, be->item);
        for (int l = 0; l <= top; l++)
            tape->z[l] = fbp_arena_take(arena, "z", l, pass, net->layers[l].out, be->item);
        for (int i = 0; i < 2; i++) tape->dz[i] = take_bytes(arena, "dz", i, 1, dz[i]);
        tape->dz_top = last->dense->take_dz ? take_bytes(arena, "dz_top", -1, 1,
                                                         last->dense->dz_size(be, pass, last->out, overflow))
                                            : tape->z[top];
        tape->loss_part = fbp_arena_take(arena, "loss", -1, ROW_TILES, 1, sizeof(double));
        tape->square_part =
            fbp_arena_take(arena, "squares", -1, last->tile0 + last->n_tiles, 1, sizeof(double));
    } else { /* layers that share memory would put rows of one thread where another's are; the last is the caller's */
        for (int l = 0; l < top; l++)
            tape->z[l] = fbp_arena_take(arena, "z", l, pass, net->layers[l].out, be->item);
    }

    store->rows = arena->rows ? arena->rows + arena->n_rows : NULL;
    store->max_rows = arena->max_rows - arena->n_rows;
    store->n_rows = 0;
    tr->grad = NULL;
    tape->grad_part_bytes = 0;
    if (tr->optimizer != FBP_OPT_none && training && pass < tr->batch) {
        tr->grad = fbp_arena_take(store, "grad", -1, net->n_params, 1, be->item);
    } else if (tr->optimizer != FBP_OPT_none && training) {
        tape->grad_part_bytes = fbp_size(part, 1, be->item, &store->overflow);
        tape->grad_part = take_bytes(store, "grad", -1, n_threads, tape->grad_part_bytes);
    }
    for (int l = 0; l <= top; l++) {
        fbp_layer *layer = &net->layers[l];
        size_t bytes = layer->dense->packed_size(be, layer, 0, &store->overflow);
        layer->packed = l || !tr->csr ? take_bytes(store, "packed", l, 1, bytes) : NULL;
        bytes = l && training ? layer->dense->packed_size(be, layer, 1, &store->overflow) : 0;
        layer->packed_T = take_bytes(store, "packed_T", l, 1, bytes);
    }
    fbp_net_look_ahead(net, be);
}

static int fits(fbp_trainer *tr, const fbp_config *config, int64_t pass, int n_threads) {
    tr->arena.overflow = tr->store.overflow = 0;
    lay_out(tr, pass, n_threads);
    return !config->max_memory || (!tr->arena.overflow && tr->arena.cursor <= config->max_memory);
}

/* The most rows of a pass whose arena for n_threads keeps within max_memory; 0 if even one row does not. */
static int64_t rows_within(fbp_trainer *tr, const fbp_config *config, int n_threads) {
    int64_t most = tr->batch < INT_MAX ? tr->batch : INT_MAX, low = 0;
    if (fits(tr, config, most, n_threads))
        return most;
    while (low < most) { /* low fits, most + 1 does not */
        int64_t middle = low + (most - low + 1) / 2;
        if (fits(tr, config, middle, n_threads))
            low = middle;
        else
            most = middle - 1;
    }
    return low;
}

/* Rows of a pass and threads. The rows leave room for SPARE_THREADS, or as many as take no more than half of them,
 * whatever the number of threads asked for, so that results do not depend on it; threads are as many as then fit and
 * are worth it. */
static int64_t choose_pass(fbp_trainer *tr, const fbp_config *config, int *n_threads) {
    int64_t most = rows_within(tr, config, 1), pass = 0;
    for (int spare = SPARE_THREADS; most && 2 * pass < most; spare /= 2)
        pass = rows_within(tr, config, spare);
    *n_threads = 1;
    if (pass) {
        fits(tr, config, pass, 1);
        *n_threads = threads_worth(tr, config->n_threads);
        while (*n_threads > 1 && !fits(tr, config, pass, *n_threads)) --*n_threads;
    }
    return pass;
}

fbp_status fbp_trainer_new(fbp_trainer **out, const fbp_config *config, int measure, fbp_row *rows,
                           int max_rows) {
    *out = NULL;
    size_t n_layers = (size_t)config->n_layers;
    fbp_trainer *tr = calloc(1, sizeof *tr + n_layers * (sizeof(fbp_layer) + sizeof(void *)));
    if (!tr)
        return FBP_ENOMEM;
    fbp_layer *layers = (fbp_layer *)(tr + 1);
    tr->tape.z = (void **)(layers + n_layers);
    tr->backend = (fbp_backend){config->dtype, config->dtype == FBP_F32 ? sizeof(float) : sizeof(double),
                                fbp_kernels_of(config->dtype), config->blas};
    tr->optimizer = config->optimizer;
    tr->forward_only = config->forward_only;
    tr->csr = config->csr;
    tr->batch = config->batch;

    fbp_status status =
        fbp_net_init(&tr->net, layers, config->n_layers, config->widths, config->acts, config->loss);
    if (status == FBP_OK) {
        int n_threads;
        int64_t pass = choose_pass(tr, config, &n_threads);
        tr->arena.rows = rows;
        tr->arena.max_rows = max_rows;
        tr->arena.overflow = tr->store.overflow = 0;
        lay_out(tr, pass ? pass : 1, n_threads);
        if (tr->arena.overflow || tr->store.overflow)
            status = FBP_EOVERFLOW;
        else if (pass == 0)
            status = FBP_ETOOSMALL;
    }
    if (status == FBP_OK && !measure) {
        status = fbp_arena_alloc(&tr->arena, tr->arena.cursor);
        if (status == FBP_OK)
            status = fbp_arena_alloc(&tr->store, tr->store.cursor);
        if (status == FBP_OK) {
            lay_out(tr, tr->pass, tr->n_threads);
            status = fbp_pool_new(&tr->pool, tr->n_threads);
        }
    }
    *out = tr; /* on failure too: the sizes asked for are in it */
    return status;
}

void fbp_trainer_free(fbp_trainer *tr) {
    if (!tr)
        return;
    fbp_pool_free(tr->pool);
    fbp_arena_free(&tr->arena);
    fbp_arena_free(&tr->store);
    free(tr);
}
