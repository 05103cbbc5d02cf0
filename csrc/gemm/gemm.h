/* gemm: products of matrices, by packed kernels or by BLAS. */
#pragma once

#include "gemm/operand.h"
#include "kernels/kernels.h"

/* C (+)= f(A) B, or f(A)^T B, for rows m0..m1 of C, and what becomes of it. */
typedef struct {
    const fbp_kernels *kernels;
    fbp_operand a;      /* ROWS, POINTERS or PANELS; for A^T not PANELS */
    int trans_a;
    fbp_activation act; /* f */
    double drop;        /* f(a) of marked a is dropped, what is left gets this factor: see fbp_elementwise; 0: none */
    fbp_operand b;      /* BLOCKS, PANELS, or ROWS of whole panels */
    int64_t m0, m1;
    fbp_operand c;      /* from row m0 on: ROWS, or PANELS, of which padding is written too, with anything */
    int edge;           /* so many last columns of C are done apart, from b_edge; with A^T from b */
    const void *b_edge, *bias;
    int accumulate;     /* C starts from what is there, otherwise from the bias if there is one, or from 0 */
    fbp_operand z_c;    /* ROWS: at last C is multiplied with f_c'(z_c) */
    fbp_activation act_c;
    double drop_c;      /* and dropped where z_c is marked; or 0 */
    int near;           /* all operands are near: nothing is prefetched */
    const fbp_operand *next_b; /* the B of the product that comes next, or NULL: its first block is prefetched */
    void *scratch;             /* fbp_gemm_scratch bytes */
} fbp_gemm;

void fbp_gemm_packed(const fbp_gemm *g);
/* Bytes of scratch of a product of n columns that sums over k. trans_a: with A^T; long_rows: of POINTERS. */
size_t fbp_gemm_scratch(const fbp_gemm_kernels *kern, fbp_dtype dtype, int64_t k, int n, int trans_a, int long_rows,
                        int *overflow);

/* The micro-panel of columns j.. in the block that begins with row k0; its rows lie b->ld apart. */
static inline void *fbp_b_panel(const fbp_operand *b, int64_t j, int64_t k0) {
    if (b->layout != FBP_BLOCKS) return fbp_element(b, k0, j);
    return fbp_at(b->data, k0 * fbp_whole(b->cols, b->nr) + j * fbp_min(b->kc, b->rows - k0), b->dtype);
}
/* Rows i0..i1 of W, its rows ld apart, go into the blocks of rows that they are in (`b` is W); and its columns into all
 * blocks of W^T (`b` is W^T). */
void fbp_pack(const fbp_gemm_kernels *kern, const fbp_operand *b, const void *W, int64_t ld, int64_t i0, int64_t i1);
void fbp_pack_transposed(const fbp_gemm_kernels *kern, const fbp_operand *b, const void *W, int64_t ld, int i0, int i1);
/* Bytes of `count` edge columns of a matrix of so many rows, and numbers of a group of four of them. */
int64_t fbp_edge_group(const fbp_gemm_kernels *kern, int64_t rows);
size_t fbp_edge_bytes(const fbp_gemm_kernels *kern, fbp_dtype dtype, int64_t rows, int count, int *overflow);

/* C(m,n) = op(A) op(B), + C if accumulate; all row-major, k the summed dimension; op: 'N' or 'T' */
void fbp_gemm_blas(const fbp_blas *blas, fbp_dtype dtype, char op_a, char op_b, int m, int n, int k, const void *A,
                   int lda, const void *B, int ldb, int accumulate, void *C, int ldc);
