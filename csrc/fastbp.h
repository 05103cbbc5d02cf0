/* fastbp: back-propagation for multilayer perceptrons in one preallocated arena.
 *
 * This header is all that a user of the core needs; read it from top to bottom.
 *
 *     source -> forward (z) -> loss (dz) -> backward (dW, db) -> sink (update | keep | reduce) -> reset
 *               \___________________________ one arena __________________________/
 *
 *     fbp_trainer *tr;
 *     fbp_trainer_new(&tr, &config, 0);                       measures, allocates, carves; may fail and says why
 *     fbp_epoch epoch = {.data = &data, .n = rows, .batch = 200, .params = params, .state = {m, v}, .finite = 1, ...};
 *     fbp_trainer_epoch(tr, &epoch);                          never fails, NEVER ALLOCATES
 *     fbp_trainer_free(tr);
 *
 * Letters: W b parameters, z pre-activation, a = f(z) activation, dz = dJ/dz, dW db gradients, n rows,
 * in and out widths, l layer, t thread. Matrices are row-major. Parameters, gradient and optimizer state are flat
 * vectors of one length; fbp_params says what lies where.
 *
 * Only *_new and *_init return a status. Nothing here prints, exits or holds global state that changes. How it works
 * inside: docs/design.md, and the header of each folder. */
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

/* The long ones take more code in each kernel, and have fewer kernels of their own: see gemm/gemv_template.h. */
#define FBP_ACTIVATIONS(X) FBP_SHORT_ACTIVATIONS(X) FBP_LONG_ACTIVATIONS(X)
#define FBP_SHORT_ACTIVATIONS(X) X(identity) X(logistic) X(tanh) X(relu) X(leaky_relu)
#define FBP_LONG_ACTIVATIONS(X) X(elu) X(selu) X(gelu) X(silu) X(mish) X(softplus)
/* Outputs of the net for each column of y: those of gaussian_nll are all means, then all raw deviations s, of which
 * exp(s) + FBP_LEAST_VARIANCE is the variance.
 *    name             output activation  outputs */
#define FBP_LOSSES(X) \
    X(squared_error,   identity,     1) \
    X(log_loss,        softmax,      1) \
    X(binary_log_loss, logistic,     1) \
    X(poisson,         exp,          1) \
    X(absolute_error,  identity,     1) \
    X(huber,           identity,     1) \
    X(log_cosh,        identity,     1) \
    X(quantile,        identity,     1) \
    X(gamma,           exp,          1) \
    X(gaussian_nll,    mean_and_std, 2)
#define FBP_LEAST_VARIANCE 1e-6
/*                     name, state vectors, their names in a plan; `none` leaves the parameters alone */
#define FBP_OPTIMIZERS(X) X(none, 0) X(sgd, 1, "velocity") X(nesterov, 1, "velocity") X(adam, 2, "m", "v") \
    X(adamw, 2, "m", "v")

#define FBP_ENUM_STATUS(name, exception, text) name,
typedef enum { FBP_STATUSES(FBP_ENUM_STATUS) FBP_N_STATUS } fbp_status;
#define FBP_ENUM_ACT(name) FBP_ACT_##name,
typedef enum { FBP_ACTIVATIONS(FBP_ENUM_ACT) FBP_N_ACT } fbp_activation;
#define FBP_ENUM_LOSS(name, output, outputs) FBP_LOSS_##name,
typedef enum { FBP_LOSSES(FBP_ENUM_LOSS) FBP_N_LOSS } fbp_loss;
#define FBP_ENUM_OPT(name, states, ...) FBP_OPT_##name,
typedef enum { FBP_OPTIMIZERS(FBP_ENUM_OPT) FBP_N_OPT } fbp_optimizer;

extern const char *const fbp_status_text[FBP_N_STATUS];
extern const char *const fbp_status_exception[FBP_N_STATUS];
extern const char *const fbp_activation_name[FBP_N_ACT];
extern const char *const fbp_loss_name[FBP_N_LOSS];
extern const int fbp_loss_outputs[FBP_N_LOSS];
extern const char *const fbp_optimizer_name[FBP_N_OPT];
extern const int fbp_optimizer_states[FBP_N_OPT];
extern const char *const fbp_optimizer_state_name[FBP_N_OPT][2];

typedef enum { FBP_F32, FBP_F64, FBP_U8, FBP_I32 } fbp_dtype; /* U8 and I32 for targets only */

/* Names of the instruction sets that may be used now, best first; returns their number (at most 4).
 * FASTBP_DISABLE_CPU="avx512,avx2" leaves out levels. */
int fbp_cpu_levels(const char *names[4]);

/* ---- what to train on ------------------------------------------------------------------------ */

/* The caller's X, y and weights, read where they are. If they change during a call its result is any numbers, but
 * nothing outside of X, y and the trainer is touched: entries of X outside of it are left out, and the loss of a class
 * index that is none is NaN. */
typedef struct {
    int64_t rows;
    int features, outputs;          /* outputs: columns of y */
    int csr;                        /* X is CSR instead of dense */
    fbp_dtype x_dtype;              /* F32 or F64 */
    const void *x;                  /* dense: first element; CSR: the values */
    int64_t row_stride, col_stride; /* dense, in bytes */
    const void *indptr, *indices;   /* CSR; int32_t, or int64_t when wide_index */
    int wide_index;
    int64_t n_entries;              /* CSR: of x and of indices */
    fbp_dtype y_dtype;              /* I32: class indices (rows); F32, F64, U8: (rows, outputs) */
    const void *y;                  /* or NULL */
    const double *weight;           /* (rows) or NULL */
} fbp_data;

/* 1 if no number of a dense X is NaN or infinite when it becomes a number of `dtype`, which is not wider than X's;
 * kernels are those of X's dtype. Starts a team of threads for the time of the call if X is large: FBP_FINITE_SHARE
 * numbers pay for one. */
#define FBP_FINITE_SHARE (1 << 19)
typedef struct fbp_kernels fbp_kernels;
const fbp_kernels *fbp_kernels_of(fbp_dtype dtype); /* of the best level that may be used now */
int fbp_all_finite(const fbp_kernels *kernels, const fbp_data *data, fbp_dtype dtype, int n_threads);

/* ---- encoded tables ---------------------------------------------------------------------------- */

/* A column of a table of which every cell is one number p, and its rows of W[0], first..first+rows. The dense matrix
 * that the rows of the table stand for is never made.
 * - A numeric column has `knots` K + 1 >= 2: p = k + f in [0, K] lies between knots k and k + 1. It stands for K + 1
 *   inputs: the raw number, raw_k + f (raw_{k+1} - raw_k), then for each bin 1 if it is below k, f for bin k, else 0.
 *   These are its first K + 1 rows. p = K + 1.. are single inputs, such as one for what is missing.
 * - A column of categories has knots = 0: p is the category, and input p is 1.
 * Any other p (negative, NaN) stands for no input at all. */
typedef struct {
    int first, rows, knots;
    const double *raw; /* knots of them */
} fbp_column;

typedef struct {
    int n_columns;
    const fbp_column *columns; /* their rows follow each other from 0 on */
} fbp_encoding;

static inline int fbp_encoding_rows(const fbp_encoding *e) {
    const fbp_column *last = &e->columns[e->n_columns - 1];
    return last->first + last->rows;
}

/* ---- the parameters ---------------------------------------------------------------------------- */

/* One piece of the flat vector: shape (rows, cols) row-major from `offset` on (in numbers). The optimizer multiplies
 * its step size by `rate` and the weight decay by `decay`. */
typedef struct {
    char name[16];
    int64_t offset;
    int rows, cols;
    double rate, decay;
} fbp_param;

/* Fills params: every W, layer by layer, then every b; with input_scale one more, s of shape (in, 1), by which the rows
 * of the first W are multiplied. widths: n_layers + 1. FBP_EOVERFLOW if the numbers cannot be counted. */
fbp_status fbp_params_init(fbp_param *params, int n_layers, const int *widths, int input_scale);
static inline int fbp_params_count(int n_layers, int input_scale) { return 2 * n_layers + (input_scale != 0); }

/* ---- the trainer --------------------------------------------------------------------------------- */

typedef void fbp_sgemm(char *, char *, int *, int *, int *, float *, float *, int *, float *, int *, float *, float *,
                       int *);
typedef void fbp_dgemm(char *, char *, int *, int *, int *, double *, double *, int *, double *, int *, double *,
                       double *, int *);
typedef struct {
    fbp_sgemm *sgemm; /* Fortran BLAS, given by the caller */
    fbp_dgemm *dgemm;
} fbp_blas;

typedef struct {
    int n_layers;              /* of weights */
    const int *widths;         /* n_layers + 1, read while the trainer is made */
    const int *acts;           /* n_layers - 1, one per hidden layer */
    fbp_loss loss;
    fbp_dtype dtype;           /* F32 or F64 */
    fbp_optimizer optimizer;
    int64_t batch;             /* rows of a mini-batch */
    int n_threads;             /* at most */
    size_t max_memory;         /* bytes of the arena at most; 0: no limit */
    int sparse;                /* X will be CSR, and the first layer works from its non-zeros */
    int forward_only;
    int params_f32;            /* with forward_only: params are F32, whatever dtype is */
    const fbp_blas *blas;      /* or NULL: our own kernels do the products */
    const double *loss_params; /* a number for each output where the loss has a parameter: delta of huber (NULL: 1), the
                                * quantile (NULL: 0.5); read while the trainer is made, as what follows */
    double label_smoothing;    /* s of the log losses: targets (1 - s) y + s / classes; of two classes where each output
                                * is one of its own */
    const double *dropout;     /* n_layers: the share of each layer's input that an epoch drops, or NULL */
    int64_t max_rows;          /* of a pass over the arena at most; 0: a mini-batch */
    int input_grad;            /* fbp_trainer_value_grad gives dJ/dX too */
    int keep_grad;             /* the gradient of a mini-batch is made whole before the update: for max_grad_norm */
    int reduces;               /* it is, with room for one number more at its end: for fbp_epoch.reduction */
    int asks;                  /* there is room for what fbp_epoch.ask answers */
    const fbp_encoding *encoding; /* X is an encoded table of these columns, or NULL; lives as long as the trainer */
    int input_scale;              /* with encoding: there is a scale of every input, see fbp_params_init */
    const double *param_rates;    /* for every row of the table of parameters, instead of its own; or NULL */
    const double *param_decays;   /* in the same way */
} fbp_config;

typedef struct fbp_trainer fbp_trainer;

/* measure != 0 allocates nothing but a few bookkeeping bytes: the trainer has a plan and must not be run.
 * On failure *out is a trainer all the same (NULL if there was no memory at all): its plan says what was asked for. */
fbp_status fbp_trainer_new(fbp_trainer **out, const fbp_config *config, int measure);
void fbp_trainer_free(fbp_trainer *tr);

typedef struct {
    char name[24];
    int64_t shape[2];
    size_t offset, bytes; /* offset: within its block */
} fbp_plan_row;

/* Every piece of memory: those of the arena, and those that are kept from one mini-batch to the next (the gradient or
 * pieces of it, and packed weights). Lives as long as the trainer. */
typedef struct {
    const fbp_plan_row *arena_rows, *kept_rows;
    int n_arena_rows, n_kept_rows;
    size_t arena_bytes, kept_bytes;
    const char *arena;  /* where the arena begins; NULL while measuring */
    int64_t batch_rows; /* rows of one pass over the arena; fewer than a mini-batch where max_memory asks for it, or
                         * where its products would take long (see poll) */
    int n_threads;
    int64_t n_params;
    const char *products; /* "packed", "blas", or "direct": with W as it stands */
} fbp_plan;
fbp_plan fbp_trainer_plan(const fbp_trainer *tr);

/* A child of a fork has none of the team's threads: it forgets them, and starts its own before the next call. */
void fbp_trainer_forget_team(fbp_trainer *tr);
fbp_status fbp_trainer_start_team(fbp_trainer *tr);

/* What the caller's own loss is asked, for the n rows of a pass: the output, after the output activation, and what
 * belongs to it, in the net's dtype; rows are contiguous. */
typedef struct {
    int64_t first, n;     /* rows first..first+n of the call */
    const void *output;   /* (n, out) */
    const void *y;        /* (n, columns of y); anything if the data have none */
    const double *weight; /* (n) or NULL */
    void *d_output;       /* answer: (n, out), derivative of the rows' losses by the output */
    double *loss;         /* answer: (n), the rows' losses; weights and the mean are applied later */
} fbp_question;

/* What is wanted of a forward pass, for the n rows; matrices in one dtype, that of the net or F64. */
typedef struct {
    fbp_dtype dtype;
    void *result;  /* (n, out) */
    int raw;       /* z of the last layer, before the output activation */
    void **hidden; /* a of every hidden layer, (n, width) each; or NULL */
} fbp_output;

/* Data parallel training: several ranks, each with rows of its own, make the steps of an epoch together. The gradient of
 * a step is the sum over all of them; everything else each does for itself, to the same bits. */
typedef struct {
    int64_t n_steps;      /* of the epoch: the same for all ranks */
    const int64_t *ends;  /* (n_steps): rows of this rank up to the end of each step; the last is n */
    const int64_t *rows;  /* (n_steps): rows of all ranks */
    const double *totals; /* (n_steps): their sums of weights; all ranks leave out a step that has none */
    int counts_penalty;   /* the penalty is in this rank's loss_sum: in that of one */
    /* Adds n numbers of the net's dtype over the ranks, in place: the gradient, and at its end the loss of the step. Where
     * the sum of the losses is not finite all ranks end before this update, so one that has to end gives NaN. Called by
     * the thread that calls, once for each step; other than 0: it failed, and the call ends early as poll does. */
    int (*reduce)(void *context, void *grad, int64_t n);
    int64_t step; /* in and out: steps done */
} fbp_reduction;

typedef struct {
    /* in */
    const fbp_data *data;
    const int64_t *order; /* n row numbers, or NULL: 0..n */
    int64_t n, batch;
    void *params, *state[2];
    double alpha, learning_rate, momentum, beta_1, beta_2, epsilon, loss_scale;
    double weight_decay;  /* of adamw */
    const double *rates;  /* the learning rate of each mini-batch from `row` on; or NULL: learning_rate */
    double max_grad_norm; /* a longer gradient is shortened to this length; 0: none is. Needs config.keep_grad */
    void *ema;            /* (n_params): ema += (1 - ema_decay) (params - ema) after each update; or NULL */
    double ema_decay;
    uint64_t seed;        /* of the masks of dropout, together with t and the row of the visit */
    int64_t before;       /* rows that were visited before those of `data`: the masks count them, too */
    int sum;              /* fbp_trainer_value_grad: the sum over the rows instead of the mean */
    void *grad_x; /* fbp_trainer_value_grad: (n, features) for dJ/dX in the net's dtype, or NULL; config.input_grad */
    int clip;     /* report log losses with probabilities clipped at float64's epsilon, unless labels are smoothed */
    /* The caller's own loss instead of the net's, asked once per pass by the thread that calls; other than 0 ends the
     * call early as poll does. NULL: the net's. Needs config.asks. */
    int (*ask)(void *context, const fbp_question *question);
    const fbp_output *output; /* of value_grad: the output of the rows, too, without hidden; or NULL */
    /* Asked about every 50 ms, by the thread that calls, which waits for the answer: other than 0 ends the call early,
     * and its result means nothing. An epoch keeps the mini-batches before the one that was given up, of which no
     * parameter was changed; another call goes on from there. NULL: never asked. */
    int (*poll)(void *context);
    void *poll_context;
    /* Of fbp_trainer_epoch; needs config.reduces. `rates` then begin at its `step`, `row` follows, and `loss_sum` is the
     * part of this rank. Neither poll nor ask may be needed between a reduce and the end of its update. NULL: alone. */
    fbp_reduction *reduction;
    /* in and out: zero at the start of an epoch */
    int64_t row;     /* rows done */
    int64_t t;       /* updates done, over all epochs */
    double loss_sum; /* sum over mini-batches of (loss * rows) */
    int finite;      /* 1; becomes 0 when a loss, of some rank, is not finite: that update is not made */
} fbp_epoch;

/* The calls below NEVER ALLOCATE and cannot fail. They trust their caller: epoch->batch is at most config.batch,
 * and fbp_trainer_epoch needs an optimizer other than none and its state. */
void fbp_trainer_epoch(fbp_trainer *tr, fbp_epoch *epoch);
/* Value and, with grad, exact gradient of the (weighted) mean loss over the n rows. */
double fbp_trainer_value_grad(fbp_trainer *tr, fbp_epoch *epoch, void *grad);
void fbp_trainer_forward(fbp_trainer *tr, fbp_epoch *epoch, const fbp_output *output);

#endif
