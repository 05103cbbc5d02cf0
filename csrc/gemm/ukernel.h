/* The micro-kernels of the packed products. C (m,n) = A B sums over k:
 *
 *   B micro-panel   (k, NR): columns of B side by side, rows ldb apart
 *   A micro-panel   MR rows of A for one micro-tile. Along rows: (m, KC), rows of k numbers KC apart. Along columns, for
 *                   a product with A^T: (k, AW), row by row of A.
 *   micro-tile      MR by NR sums of C, in registers while k runs
 *   edge columns    the last columns of C, if they would leave most of a vector empty: see edge_template.h */
#pragma once

#include "fastbp.h"

/* What a micro-tile prefetches for the tiles that follow, into the L2 cache, a line of either for each k: `b_next`,
 * a share of the next block of B; `a_next`, something of the next A. Steps are bytes from one k to the next. Without
 * these it prefetches nothing; with them its C too, to be written. */
typedef struct {
    const char *b_next, *a_next;
    int64_t b_step, a_step;
} fbp_prefetch;

/* Post-ops. The sums are added to what is there, or to the bias if there is one; then those whose number in
 * `relu_z`, rows ldz apart, is not positive become zero (the derivative of ReLU). */
typedef struct {
    int accumulate;
    const void *bias, *relu_z;
    int64_t ldz;
} fbp_post_ops;

/* c(m <= MR, cols <= NR) = a b. A post-op with relu_z only where cols == NR. prefetch may be NULL. */
typedef void fbp_ukernel(int m, int cols, int64_t k, const void *a, const void *b, int64_t ldb, void *c, int64_t ldc,
                         const fbp_post_ops *post, const fbp_prefetch *prefetch);

typedef struct {
    int mr, nr, aw;
    int most_edge;   /* edge columns at most; 0: there are none, and no functions for them */
    int64_t b_block; /* bytes of a block of B */
    fbp_ukernel *along_rows, *along_columns;
    /* A micro-panels. Along rows: a(m,KC) = f(z(m,cols; rows ldz apart)), padded up to a multiple of NR.
     * Along columns: a(n,AW) = f(z(n,cols; rows ldz apart)), cols <= AW. */
    void (*load_rows[FBP_N_ACT])(void *a, const void *z, int64_t ldz, int m, int cols);
    void (*load_columns[FBP_N_ACT])(void *a, const void *z, int64_t ldz, int64_t n, int cols);
    /* Along rows, of a matrix in panels `jump` numbers apart. */
    void (*load_panels)(void *a, const void *panels, int64_t jump, int m, int cols);
    /* Along columns, of rows that lie anywhere: a micro-panel of `step` columns of i0..i1 after the other, of a matrix
     * `width` wide. */
    void (*load_columns_at)(void *a, const void *const *rows, int64_t n, int64_t i0, int64_t i1, int64_t step,
                            int width);
    /* panels(cols / NR, rows in all, NR), rows r0..r1 = M(r0..r1,cols; rows ld apart); and of M^T(rows,cols)^T, its
     * columns r0..r1, where r0 is a multiple of the numbers of a vector */
    void (*pack)(void *panels, const void *M, int64_t ld, int64_t rows, int cols, int64_t r0, int64_t r1);
    void (*pack_transposed)(void *panels, const void *M, int64_t ld, int cols, int r0, int r1);
    void (*pack_edge)(void *edge, const void *M, int64_t ld, int64_t rows, int count, int64_t r0, int64_t r1);
    void (*edge_rows)(int m, int cols, int64_t k, const void *a, const void *b, int64_t group, void *c, int64_t ldc,
                      const void *bias, int accumulate);
    void (*edge_columns)(int m, int cols, int64_t k, const void *a, const void *b, void *c, int64_t ldc,
                         int accumulate);
} fbp_gemm_kernels;

/* A layer of one output: W and dz are vectors, dz one number every ld.
 * forward: z(n) = f(x(n,in)) W + b; input_grad: rows r0..r1 of dz_in in panels (p,n,NR) = dz W^T * f'(z_in(n,in));
 * weight_grad: dW(cols) (+)= f(x(n,cols; rows ldx apart))^T dz */
typedef struct {
    void (*forward[FBP_N_ACT])(void *z, const void *x, const void *W, const void *b, int64_t n, int in);
    void (*input_grad[FBP_N_ACT])(void *dz_in, const void *z_in, const void *W, const void *dz, int64_t ld, int64_t n,
                                  int64_t r0, int64_t r1, int in);
    void (*weight_grad[FBP_N_ACT])(void *dW, const void *dz, int64_t ld, const void *x, int64_t ldx, int64_t n,
                                   int cols, int accumulate);
} fbp_gemv_kernels;
