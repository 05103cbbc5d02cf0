/* The order of the work in a pass, layer by layer, and what comes after each product. */
#include "net/net.h"

fbp_status fbp_net_init(fbp_net *net, fbp_layer *layers, fbp_param *params, const fbp_config *config) {
    const int n_layers = config->n_layers, *widths = config->widths, scaled = config->encoding && config->input_scale;
    *net = (fbp_net){.n_layers = n_layers, .layers = layers, .loss = config->loss, .features = widths[0]};
    net->targets = widths[n_layers] / fbp_loss_outputs[config->loss];
    net->rows_down_to = n_layers > 2 ? n_layers - 2 : 1;
    if (fbp_params_init(params, n_layers, widths, scaled) != FBP_OK) return FBP_EOVERFLOW;
    const int n_rows = fbp_params_count(n_layers, scaled);
    const fbp_param *last = &params[n_rows - 1];
    for (int i = 0; i < n_rows; i++) {
        if (config->param_rates) params[i].rate = config->param_rates[i];
        if (config->param_decays) params[i].decay = config->param_decays[i];
    }
    for (int l = 0; l < n_layers; l++)
        layers[l] = (fbp_layer){.in = widths[l],
                                .out = widths[l + 1],
                                .W = &params[l],
                                .b = &params[n_layers + l],
                                .act = l + 1 < n_layers ? (fbp_activation)config->acts[l] : FBP_ACT_identity,
                                .dropout = config->dropout ? config->dropout[l] : 0};
    net->n_products = params[n_layers].offset;
    net->n_params = last->offset + (int64_t)last->rows * last->cols;
    if (config->encoding) {
        int64_t used = fbp_min(2 * (int64_t)config->encoding->n_columns, layers[0].in);
        net->n_products -= (layers[0].in - used) * layers[0].out;
        net->features = config->encoding->n_columns;
        layers[0].encoding = config->encoding;
        layers[0].s = scaled ? last : NULL;
    }
    return FBP_OK;
}

const fbp_layer_kind *fbp_layer_kind_of(const fbp_backend *be, const fbp_layer *layer, int l, int sparse, int grad_x) {
    int panels_in = l > 0 || !grad_x; /* the GEMV writes the gradient of its input in panels */
    return layer->encoding                ? &fbp_layer_encoded
           : l == 0 && sparse             ? &fbp_layer_sparse
           : be->direct                   ? &fbp_layer_direct
           : !be->packed                  ? &fbp_layer_blas
           : layer->out == 1 && panels_in ? &fbp_layer_one_output
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
    const fbp_kernels *kernels = p->be->kernels;
    if (l < 0) return fbp_rows(p->grad_x, kernels->dtype, p->batch.n, p->net->layers[0].in);
    void *data = l + 1 < p->net->n_layers ? p->tape->dz[l & 1] : p->tape->dz_top;
    int out = p->net->layers[l].out;
    return p->be->packed ? fbp_in_panels(data, kernels->dtype, FBP_PANELS, p->batch.n, out, kernels->gemm.nr)
                         : fbp_rows(data, kernels->dtype, p->batch.n, out);
}

double fbp_pass_drop_scale(const fbp_pass *p, int l) {
    double share = p->net->layers[l].dropout;
    return p->drops && share > 0 && l > 0 ? 1 / (1 - share) : 0;
}

int fbp_pass_drop(const fbp_pass *p, int l, int64_t r, fbp_drop *drop) {
    double share = p->net->layers[l].dropout;
    *drop = (fbp_drop){.key = p->drop_key + (uint64_t)(l + 1) * 0xd1342543de82ef95u,
                       .row = p->before + p->batch.first + r,
                       .below = (uint32_t)(share * 4294967296.0),
                       .scale = 1 / (1 - share)};
    return p->drops && share > 0;
}

/* X is dropped where it was fetched to; z is marked, since f'(z) is needed, too. */
static void drop_x(const fbp_pass *p, int64_t r0, int64_t r1) {
    const fbp_elementwise *kernels = &p->be->kernels->elementwise;
    fbp_drop drop;
    if (!p->batch.fetches_x || !fbp_pass_drop(p, 0, r0, &drop)) return;
    int cols = p->net->layers[0].in;
    void *x = fbp_element(&p->batch.x, r0, 0);
    kernels->mark(x, r1 - r0, cols, &drop);
    kernels->drop(x, cols, x, cols, r1 - r0, cols, drop.scale);
}

static void mark_z(const fbp_pass *p, int l, int64_t r0, int64_t r1) {
    fbp_drop drop;
    int out = p->net->layers[l].out;
    if (l + 1 < p->net->n_layers && fbp_pass_drop(p, l + 1, r0, &drop))
        p->be->kernels->elementwise.mark(fbp_at(p->tape->z[l], r0 * out, p->be->kernels->dtype), r1 - r0, out, &drop);
}

const void *fbp_pass_activated(const fbp_pass *p, int l, int64_t r0, int64_t n, int i0, int cols) {
    const fbp_elementwise *kernels = &p->be->kernels->elementwise;
    fbp_activation act;
    fbp_operand x = fbp_pass_input(p, l, &act);
    const void *z = fbp_element(&x, r0, i0);
    double scale = fbp_pass_drop_scale(p, l);
    kernels->act[act](p->scratch, z, x.ld, n, cols);
    if (scale > 0) kernels->drop(p->scratch, cols, z, x.ld, n, cols, scale);
    return p->scratch;
}

/* What the next product reads first is prefetched: half of it was written by other threads. Row by row, forward
 * products go up through the layers, and input gradients down again. */
void fbp_net_forward(fbp_pass *p, int64_t r0, int64_t r1) {
    int top = p->net->n_layers - 1;
    fbp_batch_fetch(&p->batch, r0, r1);
    drop_x(p, r0, r1);
    for (int l = 0; l <= top; l++) {
        const fbp_layer *layer = &p->net->layers[l];
        p->next_b = l < top ? &layer[1].w : &layer->w_T;
        layer->kind->forward(p, l, p->tape->z[l], r0, r1);
        mark_z(p, l, r0, r1);
    }
}

/* The tape holds the output of rows r0..r1, after the output activation, and what the caller said of it. */
static double answered_loss(const fbp_pass *p, const fbp_targets *targets, int64_t r0, int64_t r1) {
    const fbp_loss_kernels *kernels = &p->be->kernels->losses;
    fbp_dtype dtype = p->be->kernels->dtype;
    int top = p->net->n_layers - 1, out = p->net->layers[top].out;
    void *dz = fbp_at(p->tape->z[top], r0 * out, dtype);
    kernels->output_grad[p->net->loss](dz, fbp_at(p->tape->d_output, r0 * out, dtype), r1 - r0, out);
    return kernels->weigh(dz, (const double *)p->tape->row_loss + r0, targets, r1 - r0, out);
}

double fbp_net_loss(const fbp_pass *p, int64_t r0, int64_t r1) {
    int top = p->net->n_layers - 1, out = p->net->layers[top].out;
    const fbp_kernels *kernels = p->be->kernels;
    fbp_operand dz = fbp_pass_dz(p, top);
    void *z = p->tape->z[top];
    if (!p->asked) fbp_batch_fetch_targets(&p->batch, r0, r1);
    fbp_targets targets = fbp_batch_targets(&p->batch, r0, p->net->targets);
    targets.param = p->net->loss_params;
    targets.smoothing = p->net->label_smoothing;
    double loss = p->asked ? answered_loss(p, &targets, r0, r1)
                           : kernels->losses.loss[p->net->loss](fbp_at(z, r0 * out, dz.dtype), &targets, r1 - r0, out);
    if (dz.layout == FBP_PANELS) /* the loss left it row-major in place of z */
        kernels->gemm.pack(dz.data, z, out, p->batch.n, out, r0, r1);
    return loss;
}

void fbp_net_input_grad(fbp_pass *p, int l, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_operand dz = fbp_pass_dz(p, l);
    p->next_b = l == 0 ? NULL : l < p->net->rows_down_to ? &dz : l > p->net->rows_down_to ? &layer[-1].w_T : NULL;
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
