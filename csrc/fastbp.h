/* fastbp: back-propagation for multilayer perceptrons in one preallocated arena.
 *
 * Read this header from top to bottom; it is the tutorial of the core.
 *
 *     X, y, order -> gather -> forward (z) -> loss (dz) -> backward (dW, db) -> update -> reset
 *                    \______________________ one arena ______________________/
 *
 *     fbp_trainer *tr;
 *     fbp_trainer_new(&tr, &config);          measures, allocates, carves; may fail and says why
 *     while (more epochs) fbp_trainer_epoch(tr, &epoch);      never fails, NEVER ALLOCATES
 *     fbp_trainer_free(tr);
 *
 * Letters: W b parameters, z pre-activation, a = f(z) activation, dz = dJ/dz, dW db gradients,
 * n rows, in/out widths, l layer, t thread. All matrices are row-major without padding.
 * Params, gradient and optimizer state are flat vectors of one length:
 * all W, layer by layer, W_l as (in, out); then all b.
 *
 * Only *_new and *_init return a status. Nothing here prints, exits or holds global mutable state. */
#ifndef FASTBP_H
#define FASTBP_H

#include <stddef.h>
#include <stdint.h>

/* ---- Tables: a name stands in one list only ------------------------------------------------- */

/*        enum           Python exception  text */
#define FBP_STATUSES(X) \
    X(FBP_OK,        "",              "ok") \
    X(FBP_ENOMEM,    "MemoryError",   "out of memory") \
    X(FBP_EOVERFLOW, "OverflowError", "the sizes overflow the address space") \
    X(FBP_ETOOSMALL, "ValueError",    "max_memory is too small for one row") \
    X(FBP_ETHREAD,   "RuntimeError",  "the thread team could not be started")

#define FBP_ACTIVATIONS(X) X(identity) X(logistic) X(tanh) X(relu)
#define FBP_LOSSES(X) X(squared_error) X(log_loss) X(binary_log_loss) X(poisson)
/*                       name      state vectors */
#define FBP_OPTIMIZERS(X) X(none, 0) X(sgd, 1) X(nesterov, 1) X(adam, 2)

#define FBP_ENUM_STATUS(name, exception, text) name,
typedef enum { FBP_STATUSES(FBP_ENUM_STATUS) FBP_N_STATUS } fbp_status;
#define FBP_ENUM_ACT(name) FBP_ACT_##name,
typedef enum { FBP_ACTIVATIONS(FBP_ENUM_ACT) FBP_N_ACT } fbp_activation;
#define FBP_ENUM_LOSS(name) FBP_LOSS_##name,
typedef enum { FBP_LOSSES(FBP_ENUM_LOSS) FBP_N_LOSS } fbp_loss;
#define FBP_ENUM_OPT(name, states) FBP_OPT_##name,
typedef enum { FBP_OPTIMIZERS(FBP_ENUM_OPT) FBP_N_OPT } fbp_optimizer;

typedef enum { FBP_F32, FBP_F64, FBP_U8, FBP_I32 } fbp_dtype; /* U8 and I32 for targets only */

static inline int64_t fbp_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fbp_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t fbp_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

extern const char *const fbp_status_text[FBP_N_STATUS];
extern const char *const fbp_status_exception[FBP_N_STATUS];
extern const char *const fbp_activation_name[FBP_N_ACT];
extern const char *const fbp_loss_name[FBP_N_LOSS];
extern const char *const fbp_optimizer_name[FBP_N_OPT];
extern const int fbp_optimizer_states[FBP_N_OPT];

/* ---- arena: one block, one cursor ------------------------------------------------------------ */

#define FBP_ALIGN 64u /* bytes: one cache line, one AVX-512 vector */

typedef struct {
    char name[24];
    int64_t shape[2];
    size_t offset, bytes;
} fbp_row; /* one line of the memory plan */

typedef struct {
    char *base;    /* NULL while measuring */
    size_t size;   /* bytes of the block */
    size_t cursor; /* bytes handed out */
    int overflow;  /* some size did not fit in size_t */
    fbp_row *rows; /* where to note what is carved, or NULL */
    int n_rows, max_rows;
} fbp_arena;

/* rows * cols * item, rounded up to FBP_ALIGN; sets *overflow and gives 0 when it does not fit. */
size_t fbp_size(int64_t rows, int64_t cols, size_t item, int *overflow);
/* The next rows*cols items of the arena, aligned; NULL while measuring. */
void *fbp_arena_take(fbp_arena *arena, const char *name, int l, int64_t rows, int64_t cols, size_t item);
fbp_status fbp_arena_alloc(fbp_arena *arena, size_t size);
void fbp_arena_free(fbp_arena *arena);
/* In debug builds (FBP_DEBUG) fills what lies after `mark` with NaN and poisons it under ASan. */
size_t fbp_arena_mark(const fbp_arena *arena);
void fbp_arena_reset(fbp_arena *arena, size_t mark);

/* ---- what to train on ------------------------------------------------------------------------ */

typedef struct {
    int64_t rows;
    int features, outputs;          /* outputs: columns of y */
    int csr;                        /* X is CSR instead of dense */
    fbp_dtype x_dtype;              /* F32 or F64 */
    const void *x;                  /* dense: first element; CSR: the values */
    int64_t row_stride, col_stride; /* dense, in bytes */
    const void *indptr, *indices;   /* CSR; int32_t, or int64_t when wide_index */
    int wide_index;
    fbp_dtype y_dtype;              /* I32: class indices (rows); F32, F64, U8: (rows, outputs) */
    const void *y;                  /* or NULL */
    const double *weight;           /* (rows) or NULL */
} fbp_data;

/* ---- kernels: one table per dtype and instruction set --------------------------------------- */

typedef struct {
    double alpha; /* weight decay already divided by the weight sum of the batch */
    double rate;  /* step size, for Adam with its bias correction */
    double momentum, beta_1, beta_2, epsilon;
} fbp_update;

/* Rows of X, with their targets and weights: row i of it is row `order ? order[first+i] : first+i`. */
typedef struct {
    const fbp_data *data;
    const int64_t *order;
    int64_t first;
    double scale; /* 1 / weight sum of the batch, goes into dz */
    int clip;     /* clip probabilities at the dtype's epsilon in the reported value */
} fbp_rows;

static inline int64_t fbp_row_of(const fbp_rows *r, int64_t i) {
    return r->order ? r->order[r->first + i] : r->first + i;
}

static inline const char *fbp_row_at(const fbp_rows *r, int64_t i) { /* of a dense X */
    return (const char *)r->data->x + fbp_row_of(r, i) * r->data->row_stride;
}

/* A tile of a packed product sums at most so many numbers at a time. Rows of k of its left factor lie so far apart
 * that the compiler knows the distance: short ones like those of a panel nr wide. */
#define FBP_K_BLOCK 256
#define FBP_ROW(k, nr) ((k) <= (nr) ? (nr) : FBP_K_BLOCK)

/* What a tile of a product prefetches. For the tiles that follow, into the L2 cache, a line of either for each k:
 * `block`, a share of the next block of the right factor; `line`, something of the left factor. For itself, to be
 * written: `beside`, of each as many numbers as the tile has, where its sums go and what they meet on the way. */
typedef struct {
    const char *block, *line, *beside[2];
    int64_t block_step, line_step; /* bytes from one k to the next */
    int64_t beside_step[2];        /* from row to row */
} fbp_ahead;

/* What becomes of the sums of a tile: they are added to what is there, or to the bias if there is one; then those
 * whose number in `gate`, rows ldg apart, is not positive become zero (the derivative of ReLU). */
typedef struct {
    int accumulate;
    const void *bias, *gate;
    int64_t ldg;
} fbp_epilogue;

/* What the next product reads first: so many pieces of memory, `bytes` each and `stride` bytes apart. Half of it
 * was written by other threads, so it is prefetched while the product before goes on. */
typedef struct {
    const char *piece;
    int64_t bytes, stride, pieces;
} fbp_after;

/* Rows of X that this thread will read in the next mini-batch: `rows` as far as fbp_row_of goes, at..end of them
 * not yet prefetched. */
typedef struct {
    fbp_rows rows;
    int64_t at, end;
} fbp_coming;

typedef struct {
    const char *isa;
    /* 1 if none of the `count` numbers, `stride` bytes apart, is NaN or infinite */
    int (*all_finite)(const void *x, int64_t count, int64_t stride);
    /* x(n,width) = the tile's rows of X, converted */
    void (*gather)(void *x, const fbp_rows *rows, int64_t n, int width);
    /* y(n,out) = the tile's rows of dense targets, converted */
    void (*gather_targets)(void *y, const fbp_rows *rows, int64_t n, int out);
    /* z(n,out) += b */
    void (*add_bias)(void *z, const void *b, int64_t n, int out);
    /* a(n,cols; contiguous) = f(z(n,cols; rows ldz apart)) */
    void (*act[FBP_N_ACT])(void *a, const void *z, int64_t ldz, int64_t n, int cols);
    /* dz(n,cols; rows ld apart) *= f'(z(n,cols; rows ldz apart)) */
    void (*derive[FBP_N_ACT])(void *dz, int64_t ld, const void *z, int64_t ldz, int64_t n, int cols);
    /* in: z(n,out) of the output layer with bias. out: dz = (a - y) * weight * scale.
     * Returns the weighted sum of the losses of the rows. y is used for dense targets only. */
    double (*loss[FBP_N_LOSS])(void *z, const void *y, const fbp_rows *rows, int64_t n, int out);
    /* the output activation in place */
    void (*output[FBP_N_LOSS])(void *z, int64_t n, int out);
    /* db(j0..j1) (+)= column sums of dz(n,out) */
    void (*column_sums)(void *db, const void *dz, int64_t n, int out, int j0, int j1, int accumulate);
    double (*square_sum)(const void *p, int64_t count);
    /* One pass over a slice: p, g, s1, s2 of count numbers. Returns sum(p*p) before the update
     * when alpha > 0. With optimizer `none`: g += alpha*p only. */
    double (*update[FBP_N_OPT])(void *p, void *g, void *s1, void *s2, int64_t count, const fbp_update *u);

    /* What dense_packed.c is made of; see packed_template.h for panels, rows and strips. */
    int mr, nr, aw; /* rows of a tile at most, columns of a panel, columns of a strip */
    void (*tile_rows)(int m, int cols, int64_t k, const void *a, const void *b, int64_t ldb, void *c,
                      int64_t ldc, const fbp_epilogue *then, const fbp_ahead *ahead);
    void (*tile_strip)(int m, int cols, int64_t k, const void *a, int64_t lda, const void *b, int64_t ldb,
                       void *c, int64_t ldc, int accumulate, const fbp_ahead *ahead);
    void (*fill_rows[FBP_N_ACT])(void *a, const void *z, int64_t ldz, int m, int cols);
    void (*fill_strip[FBP_N_ACT])(void *a, const void *z, int64_t ldz, int64_t n, int cols);
    void (*copy_rows)(void *a, const void *panels, int64_t jump, int m, int cols);
    /* fill_rows and fill_strip of rows of X where they are, already of the dtype and side by side: rows r0..,
     * columns i0.. */
    void (*gather_rows)(void *a, const fbp_rows *rows, int64_t r0, int64_t i0, int m, int cols);
    void (*gather_strips)(void *strips, const fbp_rows *rows, int64_t r0, int64_t n, int64_t i0, int64_t i1,
                          int64_t strip, int in);
    void (*single_forward[FBP_N_ACT])(void *z, const void *z_in, const void *W, const void *b, int64_t n,
                                      int in);
    void (*single_input_grad[FBP_N_ACT])(void *dz_in, const void *z_in, const void *W, const void *dz,
                                         int64_t ld, int64_t n, int64_t r0, int64_t r1, int in);
    void (*single_grad[FBP_N_ACT])(void *dW, const void *dz, int64_t ld, const void *z_in, int64_t ldz,
                                   int64_t n, int cols, int accumulate);
    void (*pack_panels)(void *panels, const void *M, int64_t ld, int64_t rows, int cols, int64_t r0,
                        int64_t r1);
    void (*pack_transposed)(void *panels, const void *M, int64_t ld, int cols, int r0, int r1);
    void (*panel_sums)(void *db, const void *panel, int64_t n, int cols, int accumulate);
    int most_tail; /* columns of a tail at most; 0: there are none, and no functions. See tail_template.h. */
    void (*pack_tail)(void *tail, const void *M, int64_t ld, int64_t rows, int count, int64_t r0, int64_t r1);
    void (*tail_forward)(int m, int cols, int64_t k, const void *a, const void *b, int64_t group, void *c,
                         int64_t ldc, const void *bias, int accumulate);
    void (*tail_grad)(int m, int cols, int64_t k, const void *a, int64_t lda, const void *b, void *c,
                      int64_t ldc, int accumulate);

    /* A first layer from CSR rows. z(n,out) = X W + b; dW(i0..i1,out) (+)= X[:, i0:i1]^T dz(n,out), with dz
     * in panels `panel` columns wide. */
    void (*csr_forward)(void *z, const fbp_rows *rows, const void *W, const void *b, int64_t n, int out);
    void (*csr_weight_grad)(void *dW, const void *dz, int panel, const fbp_rows *rows, int i0, int i1,
                            int64_t n, int out, int accumulate);
} fbp_kernels;

/* The table of the best instruction set that the CPU has and FASTBP_DISABLE_CPU leaves. */
const fbp_kernels *fbp_kernels_of(fbp_dtype dtype);
/* Names of the levels available now, best first; returns their number (at most 4). */
int fbp_cpu_levels(const char *names[4]);

/* ---- dense: the three products of a layer ----------------------------------------------------- */

typedef void fbp_sgemm(char *, char *, int *, int *, int *, float *, float *, int *, float *, int *, float *,
                       float *, int *);
typedef void fbp_dgemm(char *, char *, int *, int *, int *, double *, double *, int *, double *, int *,
                       double *, double *, int *);
typedef struct {
    fbp_sgemm *sgemm; /* Fortran BLAS, given by the caller */
    fbp_dgemm *dgemm;
} fbp_blas;

typedef struct {
    fbp_dtype dtype;
    size_t item;
    const fbp_kernels *kernels;
    const fbp_blas *blas;
} fbp_backend;

/* The left factor of a product: f(z), or rows of X where they are. */
typedef struct {
    const void *z;
    fbp_activation act;
    const fbp_rows *rows; /* instead of z: identity of row i of the pass is row i of these; or NULL */
} fbp_left;

struct fbp_dense;
typedef struct {
    int in, out;
    fbp_activation act;      /* of this layer; identity for the output layer (the loss has its own) */
    int64_t W, b;            /* offsets in the parameters */
    const struct fbp_dense *dense;
    void *packed, *packed_T; /* W and W^T as dense wants them, or NULL */
    fbp_after after_forward, after_input_grad; /* where the next product is known by then */
    /* Tiles of the weight gradient are rows of W, from shapes alone: see fbp_tile_row. */
    int n_tiles, tile0; /* tiles of this layer, and of the layers before it */
    int tile_unit;      /* they begin at multiples of it */
    int units;          /* so many units are in `in` */
    int tile_rows;      /* the most rows of one */
    int64_t joined;     /* the most tiles whose dW is made, used and packed together */
} fbp_layer;

/* The first row of a tile: all have about the same number. */
static inline int fbp_tile_row(const fbp_layer *layer, int64_t tile) {
    int64_t row = tile == 0 ? 0 : layer->units * tile / layer->n_tiles * layer->tile_unit;
    return tile < layer->n_tiles ? (int)row : layer->in;
}

/* The matrices are given from row 0 of the pass; r0..r1 are the rows to do, n the rows of the pass.
 * dz is in whatever layout this dense likes best. */
typedef struct fbp_dense {
    const char *name;
    int row_tile;                                      /* rows below which a tile is not worth its while */
    int (*dz_panel)(const fbp_backend *be, int width); /* dz(n, width) lies in panels (p, n, this wide) */
    int free_cut; /* results do not depend on how rows are cut, to the bit: neighbouring tiles may be joined */
    /* bytes of packed W (transposed: W^T), of dz(n, width), and of one thread's scratch */
    size_t (*packed_size)(const fbp_backend *be, const fbp_layer *layer, int transposed, int *overflow);
    size_t (*dz_size)(const fbp_backend *be, int64_t n, int width, int *overflow);
    size_t (*scratch_size)(const fbp_backend *be, const fbp_layer *layer, int64_t tile, int64_t n,
                           int *overflow);
    /* rows i0..i1 of W changed: refresh the packed copies */
    void (*pack)(const fbp_backend *be, const fbp_layer *layer, const void *W, int i0, int i1);
    /* What a product reads first of its right factor: the packed W (transposed: W^T), or dz of a pass of n rows;
     * nothing if that is small. NULL with BLAS, which goes its own ways. */
    fbp_after (*first_of_W)(const fbp_backend *be, const fbp_layer *layer, int transposed);
    fbp_after (*first_of_dz)(const fbp_backend *be, const fbp_layer *layer, const void *dz, int64_t n);
    /* Are n rows of X better read where they are than gathered? NULL: never. */
    int (*takes_rows)(const fbp_backend *be, const fbp_layer *layer, int64_t n);
    /* While the products below go on, what comes after them may be prefetched.
     * z(n,out) = left(n,in) W + b */
    void (*forward)(const fbp_backend *be, const fbp_layer *layer, const void *W, const void *b, void *z,
                    const fbp_left *left, int64_t r0, int64_t r1, void *scratch, const fbp_after *after);
    /* the loss left dz of the output layer row-major in place of z: bring it into this dense's layout */
    void (*take_dz)(const fbp_backend *be, const fbp_layer *layer, void *dz, const void *z, int64_t r0,
                    int64_t r1, int64_t n);
    /* dz_in(n,in) = (dz(n,out) W^T) * f_in'(z_in) */
    void (*input_grad)(const fbp_backend *be, const fbp_layer *layer, const void *W, void *dz_in,
                       const void *dz, const void *z_in, fbp_activation act_in, int64_t r0, int64_t r1,
                       int64_t n, void *scratch, const fbp_after *after);
    /* dW(i0..i1,out) (+)= left(n,in)[:, i0:i1]^T dz(n,out); dW points at row i0. The coming rows may be
     * prefetched too (NULL: none). */
    void (*weight_grad)(const fbp_backend *be, const fbp_layer *layer, void *dW, const void *dz,
                        const fbp_left *left, int i0, int i1, int64_t n, int accumulate, void *scratch,
                        const fbp_after *after, fbp_coming *coming);
    /* db(j0..j1) (+)= column sums of dz; db points at column 0; j0 a multiple of 64 */
    void (*bias_grad)(const fbp_backend *be, const fbp_layer *layer, void *db, const void *dz, int j0, int j1,
                      int64_t n, int accumulate);
} fbp_dense;

extern const fbp_dense fbp_dense_blas, fbp_dense_packed;
/* The faster of the two on this machine; FASTBP_DENSE=blas|packed decides otherwise. */
const fbp_dense *fbp_dense_of(void);

/* ---- pool: a team of threads; a NULL pool is the serial loop ---------------------------------- */

typedef struct fbp_pool fbp_pool;
typedef void fbp_task(void *context, int t);

fbp_status fbp_pool_new(fbp_pool **pool, int n_threads);
void fbp_pool_free(fbp_pool *pool);
/* Runs task(context, t) for every t at once, t = 0 on the caller; returns when all are done. */
void fbp_pool_run(fbp_pool *pool, fbp_task *task, void *context);
/* Inside a task: waits until every thread of the team is here. */
void fbp_pool_barrier(fbp_pool *pool);
/* The t-th of n_threads equal parts of 0..count. */
static inline void fbp_share(int64_t count, int t, int n_threads, int64_t *lo, int64_t *hi) {
    *lo = count * t / n_threads;
    *hi = count * (t + 1) / n_threads;
}

/* ---- net and tape: what is computed, and where it lives ---------------------------------------- */

typedef struct {
    int n_layers; /* of weights */
    fbp_layer *layers;
    fbp_loss loss;
    int64_t n_weights, n_params;
    int max_width;    /* widest output of a layer */
    int rows_down_to; /* this layer, input gradients follow the loss; below it, layer by layer */
} fbp_net;

/* Fills `layers` (work array of n_layers). acts: one per hidden layer. */
fbp_status fbp_net_init(fbp_net *net, fbp_layer *layers, int n_layers, const int *widths, const int *acts,
                        fbp_loss loss);

typedef struct {
    int64_t n;            /* rows of the pass */
    const void *x;        /* (n, in) gathered rows, or the caller's rows in place */
    const fbp_rows *rows; /* instead of x: rows of X that the first layer reads where they are, or NULL */
    void *gathered;       /* (n, in) in the arena */
    const fbp_rows *csr;  /* instead of x: the CSR rows of the pass, or NULL */
    void *y;              /* (n, out) dense targets */
    void **z;             /* z[l] (n, out_l), row-major; the last becomes dz in place */
    void *dz[2];          /* dz of hidden layer l in dz[l & 1] */
    void *dz_top;         /* dz of the output layer: its z, or a copy as dense likes it */
    char *scratch;        /* one piece per thread */
    size_t scratch_bytes;
    double *loss_part;    /* per row tile */
    double *square_part;  /* sum of squared weights per weight tile, over the layers */
    char *grad_part; /* dW of joined tiles or a db, one piece per thread; NULL where the gradient is kept */
    size_t grad_part_bytes;
    fbp_coming *coming; /* of this thread, or NULL */
} fbp_tape;

/* Once the packed weights have their places: what comes after each product. */
void fbp_net_look_ahead(fbp_net *net, const fbp_backend *be);

/* Rows r0..r1 of the pass: X -> z of all layers, that of the last into `result` (n, out). */
void fbp_net_forward(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, const void *params,
                     const fbp_rows *rows, int64_t r0, int64_t r1, void *scratch, void *result);
/* Rows r0..r1: loss, and dz of the output layer in place of its z. Returns the weighted sum. */
double fbp_net_loss(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, const fbp_rows *rows,
                    int64_t r0, int64_t r1);
/* Rows r0..r1 of dz of layer l-1 from dz of layer l (l >= 1). */
void fbp_net_input_grad(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, const void *params,
                        int l, int64_t r0, int64_t r1, void *scratch);
/* Rows i0..i1 of dW of layer l (dW points at row i0), and columns j0..j1 of db (at column 0), from all rows of
 * the pass. last: of this thread's share of the layer. */
void fbp_net_weight_grad(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, void *dW, int l,
                         int i0, int i1, int accumulate, void *scratch, int last);
void fbp_net_bias_grad(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, void *db, int l,
                       int j0, int j1, int accumulate);

/* ---- trainer: all of them together ------------------------------------------------------------ */

typedef struct {
    int n_layers;
    const int *widths; /* n_layers + 1 */
    const int *acts;   /* n_layers - 1 */
    fbp_loss loss;
    fbp_dtype dtype;   /* F32 or F64 */
    fbp_optimizer optimizer;
    int64_t batch;     /* rows of a mini-batch */
    int n_threads;     /* at most */
    size_t max_memory; /* bytes of the arena at most; 0: no limit */
    int csr;           /* X will be CSR and is not to be gathered */
    int forward_only;
    const fbp_blas *blas;
} fbp_config;

typedef struct {
    fbp_net net;
    fbp_backend backend;
    fbp_optimizer optimizer;
    fbp_arena arena;
    fbp_tape tape;
    fbp_pool *pool;
    int64_t batch; /* rows of a mini-batch */
    int64_t pass;  /* rows of one pass over the arena, <= batch */
    int64_t tile;  /* rows of one tile of a pass; from shapes alone */
    int n_threads;
    int forward_only;
    int csr;
    fbp_arena store; /* the gradient, or pieces of it, and packed weights */
    void *grad;      /* the sum over the passes of a mini-batch, n_params; NULL where one pass is all */
} fbp_trainer;

/* measure != 0 allocates nothing but the trainer's few bookkeeping bytes: its arenas have sizes and no
 * block, and it must not be run. rows, when given, gets the plan: first of the arena, then of the store. */
fbp_status fbp_trainer_new(fbp_trainer **out, const fbp_config *config, int measure, fbp_row *rows,
                           int max_rows);
void fbp_trainer_free(fbp_trainer *tr);

typedef struct {
    /* in */
    const fbp_data *data;
    const int64_t *order; /* n row numbers, or NULL: 0..n */
    int64_t n, batch;
    void *params, *state[2];
    double alpha, learning_rate, momentum, beta_1, beta_2, epsilon, loss_scale;
    int clip;
    double seconds; /* pause after about this time */
    /* in and out: zero at the start of an epoch; call again while row < n and finite */
    int64_t row;     /* rows done */
    int64_t t;       /* updates done, over all epochs */
    double loss_sum; /* sum over mini-batches of (loss * rows) */
    int finite;      /* 1; becomes 0 when a loss is not finite: that update is not made */
    int pause;
} fbp_epoch;

/* The calls below NEVER ALLOCATE and cannot fail. They trust their caller: epoch->batch is at most config.batch,
 * and fbp_trainer_epoch needs an optimizer other than none and its state. */
void fbp_trainer_epoch(fbp_trainer *tr, fbp_epoch *epoch);
/* Value and, with grad, exact gradient of the (weighted) mean loss over the n rows. */
double fbp_trainer_value_grad(fbp_trainer *tr, fbp_epoch *epoch, void *grad);
/* result(n, out) = the net's output for the rows. */
void fbp_trainer_forward(fbp_trainer *tr, fbp_epoch *epoch, void *result);

/* 1 if no number of a dense X is NaN or infinite; kernels are those of its dtype. Starts a team for the time of the
 * call if X has some times FBP_FINITE_SHARE numbers. */
#define FBP_FINITE_SHARE (1 << 19) /* numbers that pay for a thread: 50 us and more */
int fbp_all_finite(const fbp_kernels *kernels, const fbp_data *data, int n_threads);

#endif
