# Mirrors csrc/fastbp.h, in its order.
from libc.stdint cimport int64_t


cdef extern from "fastbp.h" nogil:
    ctypedef enum fbp_status:
        FBP_OK
        FBP_N_STATUS
    ctypedef enum fbp_activation:
        FBP_N_ACT
    ctypedef enum fbp_loss:
        FBP_LOSS_log_loss
        FBP_N_LOSS
    ctypedef enum fbp_optimizer:
        FBP_OPT_none
        FBP_N_OPT
    ctypedef enum fbp_dtype:
        FBP_F32
        FBP_F64
        FBP_U8
        FBP_I32

    const char *const fbp_status_text[]
    const char *const fbp_status_exception[]
    const char *const fbp_activation_name[]
    const char *const fbp_loss_name[]
    const char *const fbp_optimizer_name[]
    const int fbp_optimizer_states[]

    ctypedef struct fbp_row:
        char name[24]
        int64_t shape[2]
        size_t offset
        size_t bytes
    ctypedef struct fbp_arena:
        char *base
        size_t cursor
        int n_rows

    ctypedef struct fbp_data:
        int64_t rows
        int features, outputs, csr
        fbp_dtype x_dtype
        const void *x
        int64_t row_stride, col_stride
        const void *indptr
        const void *indices
        int wide_index
        fbp_dtype y_dtype
        const void *y
        const double *weight

    int fbp_cpu_levels(const char **names)

    ctypedef void fbp_sgemm(char *, char *, int *, int *, int *, float *, float *, int *, float *, int *,
                            float *, float *, int *) noexcept nogil
    ctypedef void fbp_dgemm(char *, char *, int *, int *, int *, double *, double *, int *, double *, int *,
                            double *, double *, int *) noexcept nogil
    ctypedef struct fbp_blas:
        fbp_sgemm *sgemm
        fbp_dgemm *dgemm
    ctypedef struct fbp_kernels:
        pass
    const fbp_kernels *fbp_kernels_of(fbp_dtype dtype)
    ctypedef struct fbp_dense:
        const char *name
    ctypedef struct fbp_layer:
        const fbp_dense *dense
    ctypedef struct fbp_net:
        int n_layers
        fbp_layer *layers
        int64_t n_params

    ctypedef struct fbp_config:
        int n_layers
        const int *widths
        const int *acts
        fbp_loss loss
        fbp_dtype dtype
        fbp_optimizer optimizer
        int64_t batch
        int n_threads
        size_t max_memory
        int csr
        int forward_only
        const fbp_blas *blas
    ctypedef struct fbp_pool:
        pass
    fbp_status fbp_pool_new(fbp_pool **pool, int n_threads)
    ctypedef struct fbp_trainer:
        fbp_net net
        fbp_arena arena
        fbp_arena store
        fbp_pool *pool
        fbp_optimizer optimizer
        int64_t fpass "pass"
        int n_threads
        int forward_only

    fbp_status fbp_trainer_new(fbp_trainer **out, const fbp_config *config, int measure, fbp_row *rows,
                               int max_rows)
    void fbp_trainer_free(fbp_trainer *tr)

    ctypedef struct fbp_epoch:
        const fbp_data *data
        const int64_t *order
        int64_t n, batch
        void *params
        void *state[2]
        double alpha, learning_rate, momentum, beta_1, beta_2, epsilon, loss_scale
        int clip
        double seconds
        int64_t row, t
        double loss_sum
        int finite, pause

    void fbp_trainer_epoch(fbp_trainer *tr, fbp_epoch *epoch)
    double fbp_trainer_value_grad(fbp_trainer *tr, fbp_epoch *epoch, void *grad)
    void fbp_trainer_forward(fbp_trainer *tr, fbp_epoch *epoch, void *result)

    enum:
        FBP_FINITE_SHARE
    int fbp_all_finite(const fbp_kernels *kernels, const fbp_data *data, int n_threads)


cdef extern from *:
    """
    typedef const char *fbp_names[4];
    """
    ctypedef const char *fbp_names[4]
