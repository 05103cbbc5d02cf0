/* net: widths -> layers and offsets, and the order of the work in a pass. No arithmetic here: the
 * products are dense's, the elementwise work is the kernels'. Forward, loss and input gradient are
 * local to rows, so threads take row tiles; weight gradients need all rows and are cut by rows of W. */
#include <limits.h>

#include "fastbp.h"

fbp_status fbp_net_init(fbp_net *net, fbp_layer *layers, int n_layers, const int *widths, const int *acts,
                        fbp_loss loss) {
    int64_t weights = 0, biases = 0;
    net->n_layers = n_layers;
    net->layers = layers;
    net->loss = loss;
    net->max_width = 0;
    net->rows_down_to = n_layers > 2 ? n_layers - 2 : 1;
    for (int l = 0; l < n_layers; l++) {
        fbp_layer *layer = &layers[l];
        *layer = (fbp_layer){.in = widths[l], .out = widths[l + 1], .W = weights, .b = biases};
        layer->act = l + 1 < n_layers ? (fbp_activation)acts[l] : FBP_ACT_identity;
        weights += (int64_t)layer->in * layer->out; /* two ints: fits */
        biases += layer->out;
        if (weights > INT64_MAX / 64)
            return FBP_EOVERFLOW;
        if (layer->out > net->max_width)
            net->max_width = layer->out;
    }
    for (int l = 0; l < n_layers; l++) layers[l].b += weights;
    net->n_weights = weights;
    net->n_params = weights + biases;
    return FBP_OK;
}

static void *at(const void *base, int64_t index, const fbp_backend *be) {
    return (char *)base + index * (int64_t)be->item;
}

static void *dz_of(const fbp_net *net, const fbp_tape *tape, int l) {
    return l + 1 < net->n_layers ? tape->dz[l & 1] : tape->dz_top;
}

/* what layer l multiplies: z of layer l-1 and its activation, or x itself */
static fbp_left left_of(const fbp_net *net, const fbp_tape *tape, int l) {
    if (l == 0)
        return (fbp_left){tape->x, FBP_ACT_identity, tape->rows};
    return (fbp_left){tape->z[l - 1], net->layers[l - 1].act, NULL};
}

static fbp_after first_of_W(const fbp_net *net, const fbp_backend *be, int l, int transposed) {
    const fbp_layer *layer = &net->layers[l];
    return layer->dense->first_of_W ? layer->dense->first_of_W(be, layer, transposed) : (fbp_after){0};
}

static fbp_after first_of_dz(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, int l) {
    const fbp_layer *layer = &net->layers[l];
    return layer->dense->first_of_dz ? layer->dense->first_of_dz(be, layer, dz_of(net, tape, l), tape->n)
                                     : (fbp_after){0};
}

/* The products of the rows go up through the layers and down again. After the last of them dz of the other threads
 * is still to come. */
void fbp_net_look_ahead(fbp_net *net, const fbp_backend *be) {
    fbp_after next = {0};
    for (int l = net->rows_down_to; l < net->n_layers; l++) {
        net->layers[l].after_input_grad = next;
        if (first_of_W(net, be, l, 1).pieces)
            next = first_of_W(net, be, l, 1);
    }
    for (int l = net->n_layers - 1; l >= 0; l--) {
        net->layers[l].after_forward = next;
        if (first_of_W(net, be, l, 0).pieces)
            next = first_of_W(net, be, l, 0);
    }
}

static fbp_after after_weight_grad(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, int l) {
    return l == 0                                 ? (fbp_after){0}
           : l == 1 || l - 1 >= net->rows_down_to ? first_of_dz(net, be, tape, l - 1)
                                                  : first_of_W(net, be, l - 1, 1);
}

void fbp_net_forward(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, const void *params,
                     const fbp_rows *rows, int64_t r0, int64_t r1, void *scratch, void *result) {
    fbp_rows tile = *rows;
    tile.first += r0;
    if (!tape->csr && !tape->rows && tape->x == tape->gathered) {
        int in = net->layers[0].in;
        be->kernels->gather(at(tape->gathered, r0 * in, be), &tile, r1 - r0, in);
    }
    for (int l = 0; l < net->n_layers; l++) {
        const fbp_layer *layer = &net->layers[l];
        fbp_left left = left_of(net, tape, l);
        void *z = l + 1 < net->n_layers ? tape->z[l] : result;
        if (l == 0 && tape->csr) {
            be->kernels->csr_forward(at(z, r0 * layer->out, be), &tile, at(params, layer->W, be),
                                     at(params, layer->b, be), r1 - r0, layer->out);
            continue;
        }
        layer->dense->forward(be, layer, at(params, layer->W, be), at(params, layer->b, be), z, &left, r0, r1,
                              scratch, &layer->after_forward);
    }
}

double fbp_net_loss(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, const fbp_rows *rows,
                    int64_t r0, int64_t r1) {
    int top = net->n_layers - 1;
    const fbp_layer *layer = &net->layers[top];
    void *z = at(tape->z[top], r0 * layer->out, be);
    void *y = at(tape->y, r0 * layer->out, be);
    fbp_rows tile = *rows;
    tile.first += r0;
    if (tile.data->y_dtype != FBP_I32)
        be->kernels->gather_targets(y, &tile, r1 - r0, layer->out);
    double loss = be->kernels->loss[net->loss](z, y, &tile, r1 - r0, layer->out);
    if (layer->dense->take_dz)
        layer->dense->take_dz(be, layer, tape->dz_top, tape->z[top], r0, r1, tape->n);
    return loss;
}

void fbp_net_input_grad(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, const void *params,
                        int l, int64_t r0, int64_t r1, void *scratch) {
    const fbp_layer *layer = &net->layers[l];
    fbp_left left = left_of(net, tape, l);
    fbp_after after = l < net->rows_down_to ? first_of_dz(net, be, tape, l) : layer->after_input_grad;
    layer->dense->input_grad(be, layer, at(params, layer->W, be), dz_of(net, tape, l - 1),
                             dz_of(net, tape, l), left.z, left.act, r0, r1, tape->n, scratch, &after);
}

void fbp_net_weight_grad(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, void *dW, int l,
                         int i0, int i1, int accumulate, void *scratch, int last) {
    const fbp_layer *layer = &net->layers[l];
    fbp_left left = left_of(net, tape, l);
    fbp_after after = {0};
    if (last)
        after = after_weight_grad(net, be, tape, l);
    if (l == 0 && tape->csr)
        be->kernels->csr_weight_grad(dW, dz_of(net, tape, l), layer->dense->dz_panel(be, layer->out),
                                     tape->csr, i0, i1, tape->n, layer->out, accumulate);
    else
        layer->dense->weight_grad(be, layer, dW, dz_of(net, tape, l), &left, i0, i1, tape->n, accumulate,
                                  scratch, &after, l == 0 ? tape->coming : NULL);
}

void fbp_net_bias_grad(const fbp_net *net, const fbp_backend *be, const fbp_tape *tape, void *db, int l,
                       int j0, int j1, int accumulate) {
    const fbp_layer *layer = &net->layers[l];
    layer->dense->bias_grad(be, layer, db, dz_of(net, tape, l), j0, j1, tape->n, accumulate);
}
