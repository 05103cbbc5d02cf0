# Mirrors csrc/fastbp.h, in its order.
from libc.stdint cimport int64_t, uint64_t


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
    const int fbp_loss_outputs[]
    const char *const fbp_optimizer_name[]
    const int fbp_optimizer_states[]
    const char *const fbp_optimizer_state_name[][2]

    ctypedef struct fbp_data:
        int64_t rows
        int features, outputs, csr
        fbp_dtype x_dtype
        const void *x
        int64_t row_stride, col_stride
        const void *indptr
        const void *indices
        int wide_index
        int64_t n_entries
        fbp_dtype y_dtype
        const void *y
        const double *weight

    int fbp_cpu_levels(const char **names)

    ctypedef struct fbp_kernels:
        pass
    const fbp_kernels *fbp_kernels_of(fbp_dtype dtype)
    enum:
        FBP_FINITE_SHARE
    int fbp_all_finite(const fbp_kernels *kernels, const fbp_data *data, fbp_dtype dtype, int n_threads)

    ctypedef struct fbp_column:
        int first, rows, knots
        const double *raw
    ctypedef struct fbp_encoding:
        int n_columns
        const fbp_column *columns

    ctypedef struct fbp_param:
        char name[16]
        int64_t offset
        int rows, cols
        double rate, decay
    fbp_status fbp_params_init(fbp_param *params, int n_layers, const int *widths, int input_scale)
    int fbp_params_count(int n_layers, int input_scale)

    ctypedef void fbp_sgemm(char *, char *, int *, int *, int *, float *, float *, int *, float *, int *,
                            float *, float *, int *) noexcept nogil
    ctypedef void fbp_dgemm(char *, char *, int *, int *, int *, double *, double *, int *, double *, int *,
                            double *, double *, int *) noexcept nogil
    ctypedef struct fbp_blas:
        fbp_sgemm *sgemm
        fbp_dgemm *dgemm

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
        int sparse
        int forward_only, params_f32
        const fbp_blas *blas
        const double *loss_params
        double label_smoothing
        const double *dropout
        int64_t max_rows
        int input_grad, keep_grad, reduces, asks
        const fbp_encoding *encoding
        int input_scale
        const double *param_rates
        const double *param_decays
    ctypedef struct fbp_trainer:
        pass
    fbp_status fbp_trainer_new(fbp_trainer **out, const fbp_config *config, int measure)
    void fbp_trainer_free(fbp_trainer *tr)

    ctypedef struct fbp_plan_row:
        char name[24]
        int64_t shape[2]
        size_t offset
        size_t bytes
    ctypedef struct fbp_plan:
        const fbp_plan_row *arena_rows
        const fbp_plan_row *kept_rows
        int n_arena_rows, n_kept_rows
        size_t arena_bytes, kept_bytes
        const char *arena
        int64_t batch_rows
        int n_threads
        int64_t n_params
        const char *products
    fbp_plan fbp_trainer_plan(const fbp_trainer *tr)

    void fbp_trainer_forget_team(fbp_trainer *tr)
    fbp_status fbp_trainer_start_team(fbp_trainer *tr)

    ctypedef struct fbp_question:
        int64_t first, n
        const void *output
        const void *y
        const double *weight
        void *d_output
        double *loss

    ctypedef struct fbp_output:
        fbp_dtype dtype
        void *result
        int raw
        void **hidden

    ctypedef struct fbp_reduction:
        int64_t n_steps
        const int64_t *ends
        const int64_t *rows
        const double *totals
        int counts_penalty
        int (*reduce)(void *context, void *grad, int64_t n) noexcept nogil
        int64_t step

    ctypedef struct fbp_epoch:
        const fbp_data *data
        const int64_t *order
        int64_t n, batch
        void *params
        void *state[2]
        double alpha, learning_rate, momentum, beta_1, beta_2, epsilon, loss_scale
        double weight_decay
        const double *rates
        double max_grad_norm
        void *ema
        double ema_decay
        uint64_t seed
        int64_t before
        int sum
        void *grad_x
        int clip
        int (*ask)(void *context, const fbp_question *question) noexcept nogil
        const fbp_output *output
        int (*poll)(void *context) noexcept nogil
        void *poll_context
        fbp_reduction *reduction
        int64_t row, t
        double loss_sum
        int finite

    void fbp_trainer_epoch(fbp_trainer *tr, fbp_epoch *epoch)
    double fbp_trainer_value_grad(fbp_trainer *tr, fbp_epoch *epoch, void *grad)
    void fbp_trainer_forward(fbp_trainer *tr, fbp_epoch *epoch, const fbp_output *output)


cdef extern from "tuning.h":
    enum:
        FBP_FLOPS_PER_THREAD


cdef extern from *:
    """
    typedef const char *fbp_names[4];
    """
    ctypedef const char *fbp_names[4]
