from fastbp._core cimport fbp_blas

cdef const fbp_blas *scipy_blas() noexcept nogil
