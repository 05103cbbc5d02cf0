/* Products by the caller's BLAS. It is column-major, so C = A B is asked for as C^T = B^T A^T. */
#include "gemm/gemm.h"

void fbp_gemm_blas(const fbp_blas *blas, fbp_dtype dtype, char op_a, char op_b, int m, int n, int k, const void *A,
                   int lda, const void *B, int ldb, int accumulate, void *C, int ldc) {
    if (dtype == FBP_F32) {
        float alpha = 1, beta = accumulate ? 1 : 0;
        blas->sgemm(&op_b, &op_a, &n, &m, &k, &alpha, (float *)B, &ldb, (float *)A, &lda, &beta, C, &ldc);
    } else {
        double alpha = 1, beta = accumulate ? 1 : 0;
        blas->dgemm(&op_b, &op_a, &n, &m, &k, &alpha, (double *)B, &ldb, (double *)A, &lda, &beta, C, &ldc);
    }
}
