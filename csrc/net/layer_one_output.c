/* A dense layer of one output: its products are GEMV, W is used as it stands. */
#include "net/net.h"

static void forward(const fbp_pass *p, int l, void *z, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act);
    p->be->kernels->gemv.forward[act](fbp_at(z, r0, x.dtype), fbp_element(&x, r0, 0), fbp_pass_param(p, layer->W),
                                      fbp_pass_param(p, layer->b), r1 - r0, layer->in);
}

static void input_grad(const fbp_pass *p, int l, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act), dz = fbp_pass_dz(p, l), to = fbp_pass_dz(p, l - 1);
    p->be->kernels->gemv.input_grad[act](to.data, x.data, fbp_pass_param(p, layer->W), dz.data, dz.ld, p->batch.n, r0,
                                         r1, layer->in);
}

static void weight_grad(const fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate) {
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act), dz = fbp_pass_dz(p, l);
    p->be->kernels->gemv.weight_grad[act](dW, dz.data, dz.ld, fbp_element(&x, 0, i0), x.ld, p->batch.n, i1 - i0,
                                          accumulate);
}

const fbp_layer_kind fbp_layer_one_output = {
    .name = "one output", .cut_invariant = 1, .forward = forward, .input_grad = input_grad, .weight_grad = weight_grad};
