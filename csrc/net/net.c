/* The order of the work in a pass, layer by layer, and what comes after each product. */
#include "net/net.h"

fbp_status fbp_net_init(fbp_net *net, fbp_layer *layers, fbp_param *params, int n_layers, const int *widths,
                        const int *acts, fbp_loss loss) {
    *net = (fbp_net){.n_layers = n_layers, .layers = layers, .loss = loss};
    net->rows_down_to = n_layers > 2 ? n_layers - 2 : 1;
    if (fbp_params_init(params, n_layers, widths) != FBP_OK) return FBP_EOVERFLOW;
    for (int l = 0; l < n_layers; l++)
        layers[l] = (fbp_layer){.in = widths[l],
                                .out = widths[l + 1],
                                .W = &params[l],
                                .b = &params[n_layers + l],
                                .act = l + 1 < n_layers ? (fbp_activation)acts[l] : FBP_ACT_identity};
    net->n_weights = params[n_layers].offset;
    net->n_params = params[2 * n_layers - 1].offset + params[2 * n_layers - 1].cols;
    return FBP_OK;
}

const fbp_layer_kind *fbp_layer_kind_of(const fbp_backend *be, const fbp_layer *layer, int l, int sparse) {
    return l == 0 && sparse  ? &fbp_layer_sparse
           : be->direct      ? &fbp_layer_direct
           : !be->packed     ? &fbp_layer_blas
           : layer->out == 1 ? &fbp_layer_one_output
                             : &fbp_layer_packed;
}

fbp_operand fbp_pass_input(const fbp_pass *p, int l, fbp_activation *act) {
    *act = FBP_ACT_identity;
    if (l == 0) return p->batch.x;
    const fbp_layer *before = &p->net->layers[l - 1];
    *act = before->act;
    return fbp_rows(p->tape->z[l - 1], p->be->kernels->dtype, p->batch.n, before->out);
}

fbp_operand fbp_pass_dz(const fbp_pass *p, int l) {
    void *data = l + 1 < p->net->n_layers ? p->tape->dz[l & 1] : p->tape->dz_top;
    const fbp_kernels *kernels = p->be->kernels;
    int out = p->net->layers[l].out;
    return p->be->packed ? fbp_in_panels(data, kernels->dtype, FBP_PANELS, p->batch.n, out, kernels->gemm.nr)
                         : fbp_rows(data, kernels->dtype, p->batch.n, out);
}

/* What the next product reads first is prefetched: half of it was written by other threads. Row by row, forward
 * products go up through the layers, and input gradients down again. */
void fbp_net_forward(fbp_pass *p, int64_t r0, int64_t r1) {
    int top = p->net->n_layers - 1;
    fbp_batch_fetch(&p->batch, r0, r1);
    for (int l = 0; l <= top; l++) {
        const fbp_layer *layer = &p->net->layers[l];
        p->next_b = l < top ? &layer[1].w : &layer->w_T;
        layer->kind->forward(p, l, p->tape->z[l], r0, r1);
    }
}

double fbp_net_loss(const fbp_pass *p, int64_t r0, int64_t r1) {
    int top = p->net->n_layers - 1, out = p->net->layers[top].out;
    const fbp_kernels *kernels = p->be->kernels;
    fbp_operand dz = fbp_pass_dz(p, top);
    void *z = p->tape->z[top];
    fbp_batch_fetch_targets(&p->batch, r0, r1);
    fbp_targets targets = fbp_batch_targets(&p->batch, r0, out);
    double loss = kernels->losses.loss[p->net->loss](fbp_at(z, r0 * out, dz.dtype), &targets, r1 - r0, out);
    if (dz.layout == FBP_PANELS) /* the loss left it row-major in place of z */
        kernels->gemm.pack(dz.data, z, out, p->batch.n, out, r0, r1);
    return loss;
}

void fbp_net_input_grad(fbp_pass *p, int l, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_operand dz = fbp_pass_dz(p, l);
    p->next_b = l < p->net->rows_down_to ? &dz : l > p->net->rows_down_to ? &layer[-1].w_T : NULL;
    layer->kind->input_grad(p, l, r0, r1);
}

void fbp_net_weight_grad(fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate, int last) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_operand dz = {0};
    p->next_b = NULL;
    if (last && l > 1 && l - 1 < p->net->rows_down_to) {
        p->next_b = &layer[-1].w_T;
    } else if (last && l > 0) {
        dz = fbp_pass_dz(p, l - 1);
        p->next_b = &dz;
    }
    layer->kind->weight_grad(p, l, dW, i0, i1, accumulate);
}

void fbp_net_bias_grad(const fbp_pass *p, int l, void *db, int j0, int j1, int accumulate) {
    const fbp_kernels *kernels = p->be->kernels;
    fbp_operand dz = fbp_pass_dz(p, l);
    int step = dz.layout == FBP_PANELS ? dz.nr : j1 - j0; /* panel by panel */
    for (int j = j0; j < j1; j += step)
        kernels->elementwise.column_sums(fbp_at(db, j - j0, dz.dtype), fbp_element(&dz, 0, j), dz.ld, p->batch.n,
                                         (int)fbp_min(step, j1 - j), accumulate);
}
