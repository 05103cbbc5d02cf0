/* A first layer from the entries of X: its products touch only the rows of W that they have entries for. It has no
 * input gradient, and W is used as it stands. */
#include "net/net.h"

static void forward(const fbp_pass *p, int l, void *z, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_drop drop;
    int drops = fbp_pass_drop(p, l, r0, &drop);
    p->be->kernels->sparse.forward[p->be->param_dtype](
        fbp_at(z, r0 * layer->out, p->be->kernels->dtype), p->batch.source, p->batch.first + r0, r1 - r0,
        fbp_pass_param(p, layer->W), fbp_pass_param(p, layer->b), layer->out, drops ? &drop : NULL);
}

static void weight_grad(const fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate) {
    fbp_operand dz = fbp_pass_dz(p, l);
    fbp_drop drop;
    int drops = fbp_pass_drop(p, l, 0, &drop);
    p->be->kernels->sparse.weight_grad(dW, dz.data, (int)dz.ld, p->batch.source, p->batch.first, p->batch.n, i0, i1,
                                       dz.cols, accumulate, drops ? &drop : NULL);
}

const fbp_layer_kind fbp_layer_sparse = {
    .name = "sparse", .cut_invariant = 1, .reads_entries = 1, .forward = forward, .weight_grad = weight_grad};
