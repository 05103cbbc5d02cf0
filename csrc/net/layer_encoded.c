/* A first layer of an encoded table. Forward reads the table T of the sums of W, made anew when W has changed; the
 * gradient of T is summed over the rows and becomes dW at the end. It has no input gradient. */
#include "net/net.h"

static void lay_out(const fbp_backend *be, fbp_layer *layer, fbp_arena *kept, int l, int input_grad) {
    (void)input_grad;
    layer->table = fbp_arena_take(kept, "table", l, layer->in, layer->out, fbp_item(be->kernels->dtype));
}

/* The scales, given W in the flat vector */
static const void *scales(const fbp_layer *layer, const void *W, fbp_dtype dtype) {
    return layer->s ? fbp_at(W, layer->s->offset - layer->W->offset, dtype) : NULL;
}

static void pack(const fbp_backend *be, const fbp_layer *layer, const void *W, int i0, int i1) {
    be->kernels->encoded.tabulate(layer->table, W, scales(layer, W, be->kernels->dtype), layer->encoding, i0, i1,
                                  layer->out);
}

static void forward(const fbp_pass *p, int l, void *z, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    const fbp_operand *x = &p->batch.x;
    p->be->kernels->encoded.forward(fbp_at(z, r0 * layer->out, x->dtype), fbp_element(x, r0, 0), x->ld, r1 - r0,
                                    layer->encoding, layer->table, fbp_pass_param(p, layer->b), layer->out);
}

static void weight_grad(const fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_operand dz = fbp_pass_dz(p, l);
    p->be->kernels->encoded.weight_grad(dW, dz.data, (int)dz.ld, p->batch.x.data, p->batch.x.ld, p->batch.n,
                                        layer->encoding, i0, i1, layer->out, accumulate);
}

static void whole_grad(const fbp_pass *p, int l, void *dW, void *ds, int i0, int i1) {
    const fbp_layer *layer = &p->net->layers[l];
    const void *W = fbp_pass_param(p, layer->W);
    p->be->kernels->encoded.finish(dW, ds, W, scales(layer, W, p->be->kernels->dtype), layer->encoding, i0, i1,
                                   layer->out);
}

const fbp_layer_kind fbp_layer_encoded = {.name = "encoded",
                                          .cut_invariant = 1,
                                          .lay_out = lay_out,
                                          .pack = pack,
                                          .forward = forward,
                                          .weight_grad = weight_grad,
                                          .whole_grad = whole_grad};
