/* dense by BLAS: the three products as one gemm each, dz row-major. BLAS is column-major, so a row-major
 * product C = A B is asked for as C^T = B^T A^T. BLAS needs a = f(z) as a matrix: a tile of it is recomputed
 * into the thread's scratch, never the whole. */
#include "fastbp.h"

/* C(m,n) = op(A) op(B) + C if accumulate, row-major, k the summed dimension */
static void gemm(const fbp_backend *be, char trans_a, char trans_b, int m, int n, int k, const void *A,
                 int lda, const void *B, int ldb, int accumulate, void *C, int ldc) {
    if (be->dtype == FBP_F32) {
        float alpha = 1, beta = accumulate ? 1 : 0;
        be->blas->sgemm(&trans_b, &trans_a, &n, &m, &k, &alpha, (float *)B, &ldb, (float *)A, &lda, &beta, C,
                        &ldc);
    } else {
        double alpha = 1, beta = accumulate ? 1 : 0;
        be->blas->dgemm(&trans_b, &trans_a, &n, &m, &k, &alpha, (double *)B, &ldb, (double *)A, &lda, &beta,
                        C, &ldc);
    }
}

static void *at(const void *base, int64_t index, const fbp_backend *be) {
    return (char *)base + index * (int64_t)be->item;
}

static size_t packed_size(const fbp_backend *be, const fbp_layer *layer, int transposed, int *overflow) {
    (void)be, (void)layer, (void)transposed, (void)overflow;
    return 0;
}

static int dz_panel(const fbp_backend *be, int width) {
    (void)be;
    return width;
}

static size_t dz_size(const fbp_backend *be, int64_t n, int width, int *overflow) {
    return fbp_size(n, width, be->item, overflow);
}

/* `tile` rows of all of a, or all rows of one weight tile's columns of it */
static size_t scratch_size(const fbp_backend *be, const fbp_layer *layer, int64_t tile, int64_t n,
                           int *overflow) {
    size_t rows = fbp_size(tile, layer->in, be->item, overflow);
    size_t columns = fbp_size(n, layer->tile_rows, be->item, overflow);
    return layer->W == 0 ? 0 : rows > columns ? rows : columns; /* a of the first layer is x itself */
}

static void forward(const fbp_backend *be, const fbp_layer *layer, const void *W, const void *b, void *z,
                    const fbp_left *left, int64_t r0, int64_t r1, void *scratch, const fbp_after *after) {
    (void)after;
    const void *a = at(left->z, r0 * layer->in, be);
    void *to = at(z, r0 * layer->out, be);
    if (left->act != FBP_ACT_identity) {
        be->kernels->act[left->act](scratch, a, layer->in, r1 - r0, layer->in);
        a = scratch;
    }
    gemm(be, 'N', 'N', (int)(r1 - r0), layer->out, layer->in, a, layer->in, W, layer->out, 0, to, layer->out);
    be->kernels->add_bias(to, b, r1 - r0, layer->out);
}

static void input_grad(const fbp_backend *be, const fbp_layer *layer, const void *W, void *dz_in,
                       const void *dz, const void *z_in, fbp_activation act_in, int64_t r0, int64_t r1,
                       int64_t n, void *scratch, const fbp_after *after) {
    void *to = at(dz_in, r0 * layer->in, be);
    (void)n, (void)scratch, (void)after;
    gemm(be, 'N', 'T', (int)(r1 - r0), layer->in, layer->out, at(dz, r0 * layer->out, be), layer->out, W,
         layer->out, 0, to, layer->in);
    be->kernels->derive[act_in](to, layer->in, at(z_in, r0 * layer->in, be), layer->in, r1 - r0, layer->in);
}

static void weight_grad(const fbp_backend *be, const fbp_layer *layer, void *dW, const void *dz,
                        const fbp_left *left, int i0, int i1, int64_t n, int accumulate, void *scratch,
                        const fbp_after *after, fbp_coming *coming) {
    (void)after, (void)coming;
    const void *a = at(left->z, i0, be);
    int lda = layer->in;
    if (left->act != FBP_ACT_identity) {
        lda = i1 - i0;
        be->kernels->act[left->act](scratch, a, layer->in, n, lda);
        a = scratch;
    }
    gemm(be, 'T', 'N', i1 - i0, layer->out, (int)n, a, lda, dz, layer->out, accumulate, dW, layer->out);
}

static void bias_grad(const fbp_backend *be, const fbp_layer *layer, void *db, const void *dz, int j0, int j1,
                      int64_t n, int accumulate) {
    be->kernels->column_sums(db, dz, n, layer->out, j0, j1, accumulate);
}

const fbp_dense fbp_dense_blas = {
    .name = "blas",
    .row_tile = 64, /* with fewer rows BLAS spends its time packing the weights */
    .dz_panel = dz_panel,
    .packed_size = packed_size,
    .dz_size = dz_size,
    .scratch_size = scratch_size,
    .forward = forward,
    .input_grad = input_grad,
    .weight_grad = weight_grad,
    .bias_grad = bias_grad,
};
