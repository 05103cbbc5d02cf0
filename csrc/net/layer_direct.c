/* A dense layer of a forward pass of few rows: W is used as it stands, in the dtype of the parameters, which may be
 * float where the net computes in double. */
#include "net/net.h"

static void forward(const fbp_pass *p, int l, void *z, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    const fbp_kernels *kernels = p->be->kernels;
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act);
    void *a = fbp_element(&x, r0, 0);
    /* in place: nothing needs z any more */
    if (act != FBP_ACT_identity) kernels->elementwise.act[act](a, a, x.ld, r1 - r0, layer->in);
    kernels->direct.forward[p->be->param_dtype](fbp_at(z, r0 * layer->out, kernels->dtype), a, x.ld, r1 - r0,
                                                fbp_pass_param(p, layer->W), fbp_pass_param(p, layer->b), layer->in,
                                                layer->out);
}

const fbp_layer_kind fbp_layer_direct = {.name = "direct", .cut_invariant = 1, .forward = forward};
