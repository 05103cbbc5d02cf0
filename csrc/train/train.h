/* trainer: two blocks of memory and a team for one net, and the loop over mini-batches.
 *
 * A mini-batch runs in one pass over the arena, or in several if max_memory asks for it. All threads of the team run
 * the same pass with barriers between its phases; tiles and the order of every sum depend on shapes alone, so the
 * bits do not depend on the number of threads. */
#pragma once

#include <stdatomic.h>

#include "net/net.h"
#include "runtime/pool.h"

struct fbp_trainer {
    fbp_net net;
    fbp_backend be;
    fbp_optimizer optimizer;
    fbp_arena arena, kept;
    fbp_tape tape;
    fbp_pool *pool;
    int64_t batch;                        /* rows of a mini-batch */
    int64_t pass;                         /* rows of one pass over the arena, <= batch */
    int64_t tile;                         /* rows of one tile of a pass; from shapes alone */
    int64_t joined_rows;                  /* rows that go through the layers together where cuts are free */
    int n_threads, forward_only;
    int keep_grad, reduces, asks, grad_x; /* see fbp_config */
    char *scratch, *part;                 /* of every thread: scratch of the products; dW of joined tiles, or a db */
    size_t scratch_bytes, part_bytes;
    double *loss_part;                    /* per row tile */
    double *square_part;                  /* sum of squared weights per weight tile, over the layers */
    double *norm_part;                    /* sum of squared gradient per weight tile, then per bias; with keep_grad */
    int grad_is_whole;                    /* there is a `grad`: see keeps_grad */
    void *grad; /* the gradient of a mini-batch, n_params, and if it is reduced the loss; NULL where it
                                  * is used piece by piece */
};

/* Rows row..row+n of the source, and where there are several ranks the rows of the others. */
typedef struct {
    int64_t row, n;    /* n = 0: only other ranks have any with weight */
    int64_t end;       /* of this rank's rows, with those that have no weight */
    int64_t step;      /* of several ranks */
    int64_t rows;      /* of all ranks; 0: there is no mini-batch */
    double total;      /* weight of all ranks' rows */
    uint64_t drop_key; /* of its dropout */
} fbp_mini_batch;

#define FBP_NEVER INT64_MAX

/* What a call of the trainer does, in all threads. */
typedef struct {
    fbp_trainer *tr;
    fbp_epoch *epoch;
    fbp_source source;
    const struct fbp_sink *sink; /* NULL: no gradient is wanted */
    void *grad;                  /* n_params, if the sink is not `update` */
    const fbp_output *output;    /* what of a forward pass is wanted; NULL: nothing */
    int drops;                   /* dropout is on */
    fbp_mini_batch batch;        /* written by thread 0 before a barrier, read by all after it */
    double polled;               /* when thread 0 asked poll last */
    int64_t reduced;             /* steps that the other ranks have been met in; of thread 0 */
    _Atomic int64_t stop_at;     /* all leave after so many barriers; set once, by thread 0 */
} fbp_job;

/* Where the gradient goes. A piece of it is dW of tiles lo..hi of a layer, or db of columns lo..hi. */
typedef struct fbp_sink {
    int updates; /* the parameters follow each mini-batch */
    /* Where thread t makes the piece that begins at `offset` of the flat vector, while `beside` numbers of another piece
     * are still needed. */
    void *(*place)(const fbp_job *j, int t, int64_t offset, int64_t beside);
    /* The last pass has made a piece at `grad`, and if the layer has scales that of theirs at `ds`. NULL: nothing is
     * done before the gradient is whole. */
    void (*take_weights)(const fbp_job *j, const fbp_layer *layer, int64_t lo, int64_t hi, void *grad, void *ds,
                         const fbp_update *u);
    void (*take_biases)(const fbp_job *j, const fbp_layer *layer, int64_t lo, int64_t hi, void *grad,
                        const fbp_update *u);
    /* The gradient of the mini-batch is whole. NULL: nothing is left to do. If its length matters, `measure` comes
     * first, which puts the weight decay into it, and a barrier. */
    void (*measure)(const fbp_job *j, int t, const fbp_update *u);
    void (*finish)(const fbp_job *j, int t, const fbp_update *u);
} fbp_sink;

/* update: the optimizer takes every piece while it is in cache, and the gradient never exists.
 * keep:   the gradient is the result.
 * reduce: it is kept, added up over passes and over ranks if there are several, and the optimizer follows when it is
 *         whole. */
extern const fbp_sink fbp_sink_update, fbp_sink_keep, fbp_sink_reduce;

/* Of a gradient that is measured. */
double fbp_gradient_norm(const fbp_trainer *tr);

/* Thread t's part of a layer: weight tiles lo..hi, and columns lo..hi of the bias: a column's sum is one thread's. */
void fbp_share_tiles(const fbp_trainer *tr, const fbp_layer *layer, int t, int64_t *lo, int64_t *hi);
void fbp_share_columns(const fbp_trainer *tr, const fbp_layer *layer, int t, int64_t *lo, int64_t *hi);
/* Parts of the tiles lo..hi that are made, used and packed together: *end of the first of them. */
int64_t fbp_joined_end(const fbp_layer *layer, int64_t lo, int64_t hi);
