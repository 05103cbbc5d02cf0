# cython: language_level=3
"""The BLAS that SciPy uses, as function pointers. The only file that knows SciPy's integer type."""
from scipy.linalg cimport cython_blas

from fastbp._core cimport fbp_blas


cdef void sgemm(char *trans_a, char *trans_b, int *m, int *n, int *k, float *alpha, float *a, int *lda,
                float *b, int *ldb, float *beta, float *c, int *ldc) noexcept nogil:
    cython_blas.sgemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


cdef void dgemm(char *trans_a, char *trans_b, int *m, int *n, int *k, double *alpha, double *a, int *lda,
                double *b, int *ldb, double *beta, double *c, int *ldc) noexcept nogil:
    cython_blas.dgemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


cdef fbp_blas table
table.sgemm = sgemm
table.dgemm = dgemm


cdef const fbp_blas *scipy_blas() noexcept nogil:
    return &table
