/* A dense layer of one output: its products are GEMV, W is used as it stands. Where its input is dropped, a = f(z) is
 * made for a few rows at a time. */
#include "net/net.h"

static size_t scratch(const fbp_backend *be, const fbp_layer *layer, int l, int64_t tile, int64_t n, int *overflow) {
    (void)l, (void)tile, (void)n;
    return layer->dropout > 0 ? fbp_size(FBP_DROP_ROWS, layer->in, fbp_item(be->kernels->dtype), overflow) : 0;
}

static void forward(const fbp_pass *p, int l, void *z, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    const fbp_gemv_kernels *kernels = &p->be->kernels->gemv;
    const void *W = fbp_pass_param(p, layer->W), *b = fbp_pass_param(p, layer->b);
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act);
    if (fbp_pass_drop_scale(p, l) == 0) {
        kernels->forward[act](fbp_at(z, r0, x.dtype), fbp_element(&x, r0, 0), W, b, r1 - r0, layer->in);
        return;
    }
    for (int64_t r = r0; r < r1; r += FBP_DROP_ROWS) {
        int64_t n = fbp_min(FBP_DROP_ROWS, r1 - r);
        const void *a = fbp_pass_activated(p, l, r, n, 0, layer->in);
        kernels->forward[FBP_ACT_identity](fbp_at(z, r, x.dtype), a, W, b, n, layer->in);
    }
}

static void input_grad(const fbp_pass *p, int l, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    const fbp_kernels *kernels = p->be->kernels;
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act), dz = fbp_pass_dz(p, l), to = fbp_pass_dz(p, l - 1);
    double drop = fbp_pass_drop_scale(p, l);
    kernels->gemv.input_grad[act](to.data, x.data, fbp_pass_param(p, layer->W), dz.data, dz.ld, p->batch.n, r0, r1,
                                  layer->in);
    for (int j = 0; drop > 0 && j < layer->in; j += to.nr)
        kernels->elementwise.drop(fbp_element(&to, r0, j), to.ld, fbp_element(&x, r0, j), x.ld, r1 - r0,
                                  (int)fbp_min(to.nr, layer->in - j), drop);
}

static void weight_grad(const fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate) {
    const fbp_gemv_kernels *kernels = &p->be->kernels->gemv;
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act), dz = fbp_pass_dz(p, l);
    if (fbp_pass_drop_scale(p, l) == 0) {
        kernels->weight_grad[act](dW, dz.data, dz.ld, fbp_element(&x, 0, i0), x.ld, p->batch.n, i1 - i0, accumulate);
        return;
    }
    for (int64_t r = 0; r < p->batch.n; r += FBP_DROP_ROWS) {
        int64_t n = fbp_min(FBP_DROP_ROWS, p->batch.n - r);
        const void *a = fbp_pass_activated(p, l, r, n, i0, i1 - i0);
        kernels->weight_grad[FBP_ACT_identity](dW, fbp_at(dz.data, r * dz.ld, dz.dtype), dz.ld, a, i1 - i0, n, i1 - i0,
                                               accumulate || r > 0);
    }
}

const fbp_layer_kind fbp_layer_one_output = {.name = "one output",
                                             .cut_invariant = 1,
                                             .scratch = scratch,
                                             .forward = forward,
                                             .input_grad = input_grad,
                                             .weight_grad = weight_grad};
