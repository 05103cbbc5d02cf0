/* A dense layer by packed kernels. W and W^T stay packed from step to step, refreshed as the update goes by, so no
 * product repacks them. dz lives in panels: the B of the weight gradient as it stands. */
#include "net/net.h"

static int64_t bytes_of(const fbp_backend *be, int64_t numbers) {
    return numbers * (int64_t)fbp_item(be->kernels->dtype);
}

/* Is the whole product of n rows within reach of the L2 cache, so that prefetching is in vain? */
static int is_near(const fbp_backend *be, const fbp_layer *layer, int64_t n) {
    int64_t in = layer->in, out = layer->out;
    return bytes_of(be, in * out + n * (in + out)) <= FBP_NEAR_BYTES;
}

/* Rows of X are read well where they are only by many columns at a time, and while they stay in the L2 cache. */
static int has_long_rows(const fbp_backend *be, const fbp_layer *layer) {
    return bytes_of(be, layer->in) >= FBP_LONG_ROW;
}
static int reads_pointers(const fbp_backend *be, const fbp_layer *layer, int64_t n) {
    return has_long_rows(be, layer) && bytes_of(be, n * layer->in) <= FBP_FAR_BYTES && !is_near(be, layer, n);
}

/* A small W of whole panels is a B operand as it stands; elsewhere its last columns may be an edge. */
static void lay_out(const fbp_backend *be, fbp_layer *layer, fbp_arena *kept, int l, int input_grad) {
    const fbp_gemm_kernels *kern = &be->kernels->gemm;
    fbp_dtype dtype = be->kernels->dtype;
    int in = layer->in, out = layer->out, edge = out & (kern->nr / 2 - 1); /* nr is a power of two */
    layer->edge = in >= FBP_EDGE_ROWS && edge <= kern->most_edge ? edge : 0;
    if (out % kern->nr == 0 && bytes_of(be, (int64_t)in * out) <= FBP_B_SMALL) {
        layer->w = fbp_rows(NULL, dtype, in, out); /* data: W among the parameters of a pass */
        layer->w.kc = fbp_block_of(in, FBP_KC, kern->nr);
    } else {
        layer->w = fbp_in_panels(NULL, dtype, FBP_BLOCKS, in, out - layer->edge, kern->nr);
        size_t bytes = fbp_operand_bytes(&layer->w, &kept->overflow);
        size_t edges = fbp_edge_bytes(kern, dtype, in, layer->edge, &kept->overflow);
        layer->w.data = fbp_arena_take_bytes(kept, "packed", l, 1, bytes + edges);
        layer->w_edge = layer->w.data ? (char *)layer->w.data + bytes : NULL;
    }
    layer->w_T = fbp_in_panels(NULL, dtype, FBP_BLOCKS, out, in, kern->nr);
    if (input_grad)
        layer->w_T.data = fbp_arena_take_bytes(kept, "packed_T", l, 1, fbp_operand_bytes(&layer->w_T, &kept->overflow));
}

/* A pass of fewer rows has shorter blocks, so more columns in each and fewer micro-panels together. */
static size_t scratch(const fbp_backend *be, const fbp_layer *layer, int l, int64_t tile, int64_t n, int *overflow) {
    const fbp_kernels *kernels = be->kernels;
    int whole = layer->out - layer->edge, long_rows = l == 0 && has_long_rows(be, layer);
    (void)tile;
    size_t rows = fbp_gemm_scratch(&kernels->gemm, kernels->dtype, layer->in, whole, 0, 0, overflow);
    size_t columns = fbp_gemm_scratch(&kernels->gemm, kernels->dtype, fbp_max(n, 1), whole, 1, long_rows, overflow);
    return rows > columns ? rows : columns;
}

static void pack(const fbp_backend *be, const fbp_layer *layer, const void *W, int i0, int i1) {
    const fbp_gemm_kernels *kern = &be->kernels->gemm;
    int out = layer->out, whole = out - layer->edge;
    if (layer->w.layout == FBP_BLOCKS) fbp_pack(kern, &layer->w, W, out, i0, i1);
    if (layer->edge)
        kern->pack_edge(layer->w_edge, fbp_at(W, whole, layer->w.dtype), out, layer->in, layer->edge, i0, i1);
    if (layer->w_T.data) fbp_pack_transposed(kern, &layer->w_T, W, out, i0, i1);
}

/* What the three products have in common; n: rows of A or of A^T. */
static fbp_gemm product(const fbp_pass *p, const fbp_layer *layer, int64_t m0, int64_t m1, int64_t n) {
    int near = is_near(p->be, layer, n);
    return (fbp_gemm){
        .kernels = p->be->kernels, .m0 = m0, .m1 = m1, .near = near, .next_b = p->next_b, .scratch = p->scratch};
}

static void forward(const fbp_pass *p, int l, void *z, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_gemm g = product(p, layer, r0, r1, r1 - r0);
    g.a = fbp_pass_input(p, l, &g.act);
    g.drop = fbp_pass_drop_scale(p, l);
    g.b = layer->w;
    if (g.b.layout == FBP_ROWS) g.b.data = (void *)fbp_pass_param(p, layer->W);
    g.c = fbp_rows(fbp_at(z, r0 * layer->out, g.b.dtype), g.b.dtype, r1 - r0, layer->out);
    g.edge = layer->edge;
    g.b_edge = layer->w_edge;
    g.bias = fbp_pass_param(p, layer->b);
    fbp_gemm_packed(&g);
}

static void input_grad(const fbp_pass *p, int l, int64_t r0, int64_t r1) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_gemm g = product(p, layer, r0, r1, r1 - r0);
    g.a = fbp_pass_dz(p, l);
    g.b = layer->w_T;
    g.c = fbp_pass_dz(p, l - 1);
    g.c.data = fbp_element(&g.c, r0, 0);
    g.z_c = fbp_pass_input(p, l, &g.act_c);
    g.drop_c = fbp_pass_drop_scale(p, l);
    fbp_gemm_packed(&g);
}

static void weight_grad(const fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate) {
    const fbp_layer *layer = &p->net->layers[l];
    fbp_gemm g = product(p, layer, i0, i1, p->batch.n);
    g.trans_a = 1;
    g.a = fbp_pass_input(p, l, &g.act);
    g.drop = fbp_pass_drop_scale(p, l);
    g.b = fbp_pass_dz(p, l);
    g.c = fbp_rows(dW, g.b.dtype, i1 - i0, layer->out);
    g.edge = layer->edge;
    g.accumulate = accumulate;
    fbp_gemm_packed(&g);
}

const fbp_layer_kind fbp_layer_packed = {.name = "packed",
                                         .cut_invariant = 1,
                                         .reads_pointers = reads_pointers,
                                         .lay_out = lay_out,
                                         .scratch = scratch,
                                         .pack = pack,
                                         .forward = forward,
                                         .input_grad = input_grad,
                                         .weight_grad = weight_grad};
