/* kernels: all arithmetic, in small tables of functions, one set per dtype and instruction set. Every function is
 * written once, in plain C that compilers vectorise (the *_template.h files), and built once per level. */
#pragma once

#include "fastbp.h"

/* A matrix of any strides, in bytes. */
typedef struct {
    const void *data;
    fbp_dtype dtype;
    int64_t row_stride, col_stride;
} fbp_strided;

/* 64 bits mixed well: the finaliser of Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014 */
static inline uint64_t fbp_mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Dropout: which numbers of a matrix are zero, by a function of (key, row, column). */
typedef struct {
    uint64_t key;   /* of the update and the layer */
    int64_t row;    /* number of the matrix' first row */
    uint32_t below; /* dropped if 32 random bits are below this: share * 2^32 */
    double scale;   /* of the others: 1 / (1 - share) */
} fbp_drop;

typedef struct {
    /* 1 if none of the `count` numbers, `stride` bytes apart, is NaN or infinite when it becomes a number of that dtype,
     * which is not wider than theirs */
    int (*all_finite[2])(const void *x, int64_t count, int64_t stride);
    /* to(n,width) = rows of a matrix, converted: row i is order[first + i], or first + i without an order */
    void (*gather)(void *to, const fbp_strided *from, const int64_t *order, int64_t first, int64_t n, int width);
    /* a(n,cols; contiguous) = f(z(n,cols; rows ldz apart)) */
    void (*act[FBP_N_ACT])(void *a, const void *z, int64_t ldz, int64_t n, int cols);
    /* dz(n,cols; rows ld apart) *= f'(z(n,cols; rows ldz apart)) */
    void (*derive[FBP_N_ACT])(void *dz, int64_t ld, const void *z, int64_t ldz, int64_t n, int cols);
    /* sums(cols) (+)= column sums of x(n,cols; rows ld apart), in an order that depends on n alone */
    void (*column_sums)(void *sums, const void *x, int64_t ld, int64_t n, int cols, int accumulate);
    double (*square_sum)(const void *p, int64_t count);
    double (*square_sum_in_double)(const void *p, int64_t count); /* where that overflows */
    void (*scale)(void *x, int64_t count, double factor);
    /* Dropout. The last bit of a number of z says whether a = f(z) is dropped: a mask that needs no memory of its own.
     * mark sets and clears them in z(n,cols; contiguous); drop: x(n,cols; rows ldx apart) becomes 0 where z is marked,
     * and is multiplied by `scale` elsewhere. */
    void (*mark)(void *z, int64_t n, int cols, const fbp_drop *drop);
    void (*drop)(void *x, int64_t ldx, const void *z, int64_t ldz, int64_t n, int cols, double scale);
} fbp_elementwise;

/* What a loss compares with, for each row of the pass. */
typedef struct {
    const void *y;        /* (n, out / outputs of the loss for each column) in the net's dtype, or NULL */
    const int32_t *label; /* (n) class indices instead, or NULL */
    const double *weight; /* (n) or NULL: 1 */
    double scale;         /* 1 / weight sum of the mini-batch, goes into dz */
    int clip;             /* clip probabilities at float64's epsilon in the reported value, if nothing is smoothed */
    const double *param;  /* (out), see fbp_config, or NULL */
    double smoothing;     /* of labels, see fbp_config */
} fbp_targets;

typedef struct {
    /* in: z(n,out) of the output layer with bias. out: dz = dJ/dz, row weights and scale included.
     * Returns the weighted sum of the losses of the rows. */
    double (*loss[FBP_N_LOSS])(void *z, const fbp_targets *targets, int64_t n, int out);
    /* The same for losses that somebody else has worked out: dz(n,out) without row weights and scale becomes one with
     * them. Returns the weighted sum of loss(n). */
    double (*weigh)(void *dz, const double *loss, const fbp_targets *targets, int64_t n, int out);
    /* the output activation in place */
    void (*output[FBP_N_LOSS])(void *z, int64_t n, int out);
    /* a, the result of the output activation, becomes dJ/dz, from c = dJ/da */
    void (*output_grad[FBP_N_LOSS])(void *a, const void *c, int64_t n, int out);
} fbp_loss_kernels;

typedef struct {
    double alpha; /* weight decay already divided by the weight sum of the batch */
    double rate;  /* step size, for Adam with its bias correction */
    double momentum, beta_1, beta_2, epsilon;
    double decay; /* of adamw: step size, without bias correction, times its weight decay */
} fbp_update;

typedef struct {
    /* One pass over a slice: p, g, s1, s2 of count numbers. Returns sum(p*p) before the update when alpha > 0.
     * With optimizer `none`: g += alpha*p only. */
    double (*update[FBP_N_OPT])(void *p, void *g, void *s1, void *s2, int64_t count, const fbp_update *u);
    /* ema += share (p - ema) */
    void (*average)(void *ema, const void *p, int64_t count, double share);
} fbp_optim_kernels;

#include "gemm/ukernel.h"

/* z(n,out) = a(n,in; rows lda apart) W + b, W and b as they stand. W and b are of float, or of double where the kernels
 * are: forward[param_dtype]. */
typedef struct {
    void (*forward[2])(void *z, const void *a, int64_t lda, int64_t n, const void *W, const void *b, int in, int out);
} fbp_direct_kernels;

struct fbp_source;
/* A first layer from the entries of rows first..first+n of a source: z(n,out) = X W + b, W and b as above, and
 * dW(i0..i1,out) (+)= X[:, i0:i1]^T dz(n,out), dz in panels nr columns wide, or row-major with nr == out. drop: of X, or
 * NULL. */
typedef struct {
    void (*forward[2])(void *z, const struct fbp_source *s, int64_t first, int64_t n, const void *W, const void *b,
                       int out, const fbp_drop *drop);
    void (*weight_grad)(void *dW, const void *dz, int nr, const struct fbp_source *s, int64_t first, int64_t n, int i0,
                        int i1, int out, int accumulate, const fbp_drop *drop);
} fbp_sparse_kernels;

/* A first layer of an encoded table: see net/encoded_template.h. x(n, columns; rows ldx apart) are its cells. */
typedef struct {
    /* rows i0..i1 of T(in,out) from W(in,out) and s(in) or NULL */
    void (*tabulate)(void *T, const void *W, const void *s, const fbp_encoding *e, int i0, int i1, int out);
    /* z(n,out) = x encoded, times W, + b */
    void (*forward)(void *z, const void *x, int64_t ldx, int64_t n, const fbp_encoding *e, const void *T, const void *b,
                    int out);
    /* dT(i0..i1,out) (+)= the gradient of T; dz as that of a sparse layer */
    void (*weight_grad)(void *dT, const void *dz, int nr, const void *x, int64_t ldx, int64_t n, const fbp_encoding *e,
                        int i0, int i1, int out, int accumulate);
    /* dT(i0..i1,out), whole, becomes dW in its place; ds(i0..i1) is filled if there is an s */
    void (*finish)(void *dT, void *ds, const void *W, const void *s, const fbp_encoding *e, int i0, int i1, int out);
} fbp_encoded_kernels;

struct fbp_kernels {
    const char *isa;
    fbp_dtype dtype;
    fbp_elementwise elementwise;
    fbp_loss_kernels losses;
    fbp_optim_kernels optim;
    fbp_gemm_kernels gemm;
    fbp_gemv_kernels gemv;
    fbp_direct_kernels direct;
    fbp_sparse_kernels sparse;
    fbp_encoded_kernels encoded;
};
