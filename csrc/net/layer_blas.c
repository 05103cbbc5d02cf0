/* A dense layer by BLAS: its products as one gemm each, dz row-major. BLAS needs a = f(z) as a matrix: a tile of it is
 * computed into the thread's scratch, never the whole. */
#include <string.h>

#include "net/net.h"

/* `tile` rows of all of a, or all rows of one weight tile's columns of it; a of the first layer is X itself */
static size_t scratch(const fbp_backend *be, const fbp_layer *layer, int l, int64_t tile, int64_t n, int *overflow) {
    size_t rows = fbp_size(tile, layer->in, fbp_item(be->kernels->dtype), overflow);
    size_t columns = fbp_size(n, layer->tile_rows, fbp_item(be->kernels->dtype), overflow);
    return l == 0 ? 0 : rows > columns ? rows : columns;
}

/* f of n rows and `cols` columns of x from (r0, i0) on: *ld apart */
static const void *activated(const fbp_pass *p, int l, int64_t r0, int64_t n, int i0, int cols, int *ld) {
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act);
    int as_it_is = act == FBP_ACT_identity && fbp_pass_drop_scale(p, l) == 0;
    *ld = as_it_is ? x.cols : cols;
    return as_it_is ? fbp_element(&x, r0, i0) : fbp_pass_activated(p, l, r0, n, i0, cols);
}

static void forward(const fbp_pass *p, int l, void *z, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    const fbp_kernels *kernels = p->be->kernels;
    int in = layer->in, out = layer->out, lda;
    const void *a = activated(p, l, r0, r1 - r0, 0, in, &lda);
    char *to = fbp_at(z, r0 * out, kernels->dtype);
    size_t row = (size_t)out * fbp_item(kernels->dtype);
    for (int64_t r = 0; r < r1 - r0; r++) memcpy(to + (size_t)r * row, fbp_pass_param(p, layer->b), row);
    fbp_gemm_blas(p->be->blas, kernels->dtype, 'N', 'N', (int)(r1 - r0), out, in, a, lda, fbp_pass_param(p, layer->W),
                  out, 1, to, out);
}

static void input_grad(const fbp_pass *p, int l, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    const fbp_kernels *kernels = p->be->kernels;
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act), dz = fbp_pass_dz(p, l), dz_in = fbp_pass_dz(p, l - 1);
    int in = layer->in, out = layer->out;
    void *to = fbp_element(&dz_in, r0, 0);
    fbp_gemm_blas(p->be->blas, kernels->dtype, 'N', 'T', (int)(r1 - r0), in, out, fbp_element(&dz, r0, 0), out,
                  fbp_pass_param(p, layer->W), out, 0, to, in);
    if (l == 0) return; /* dJ/dX */
    kernels->elementwise.derive[act](to, in, fbp_element(&x, r0, 0), in, r1 - r0, in);
    double drop = fbp_pass_drop_scale(p, l);
    if (drop > 0) kernels->elementwise.drop(to, in, fbp_element(&x, r0, 0), in, r1 - r0, in, drop);
}

static void weight_grad(const fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate) {
    int out = p->net->layers[l].out, lda;
    const void *a = activated(p, l, 0, p->batch.n, i0, i1 - i0, &lda);
    fbp_gemm_blas(p->be->blas, p->be->kernels->dtype, 'T', 'N', i1 - i0, out, (int)p->batch.n, a, lda,
                  fbp_pass_dz(p, l).data, out, accumulate, dW, out);
}

const fbp_layer_kind fbp_layer_blas = {
    .name = "blas", .scratch = scratch, .forward = forward, .input_grad = input_grad, .weight_grad = weight_grad};
