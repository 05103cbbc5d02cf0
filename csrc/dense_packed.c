/* dense by packed kernels: W and W^T stay packed in panels from step to step, refreshed as the update goes
 * by, so no product repacks them. dz lives in panels (p, n, NR): it is the right factor of the weight
 * gradient as it stands, and the left factor of the input gradient with rows a constant distance apart.
 * z stays row-major; f is applied while a few rows (forward) or columns (weight gradient) of it are filled
 * into a buffer that the L1 cache holds, so a = f(z) never exists as a matrix. */
#include "fastbp.h"

enum {
    K_BLOCK = 384,         /* summed at once in forward and input gradient: 14 rows of it fit the L1 cache */
    K_BLOCK_GRAD = 384,    /* the same for the weight gradient, whose panel is read from the L2 cache */
    SMALL_BYTES = 1 << 15, /* of a W that stays in the L1 cache while rows pass by, however its rows lie */
    BLOCK_BYTES = 3 << 18  /* of the right factor, kept in the L2 cache while rows pass by */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* the k-th of the equal blocks that count is cut into, none longer than `most`, each a multiple of `unit` */
static int64_t block_of(int64_t count, int64_t most, int64_t unit) {
    return ceil_div(ceil_div(count, ceil_div(count, most)), unit) * unit;
}

static char *at(const void *base, int64_t index, const fbp_backend *be) {
    return (char *)base + index * (int64_t)be->item;
}

static size_t panels_size(const fbp_backend *be, int64_t rows, int cols, int *overflow) {
    int nr = be->kernels->nr;
    return fbp_size(rows, ceil_div(cols, nr) * nr, be->item, overflow);
}

/* A small W of whole panels is a right factor as it stands; W of one output is used as a vector. */
static int stays_unpacked(const fbp_backend *be, const fbp_layer *layer) {
    return layer->out == 1 || (layer->out % be->kernels->nr == 0 &&
                               (size_t)layer->in * (size_t)layer->out * be->item <= SMALL_BYTES);
}

static size_t packed_size(const fbp_backend *be, const fbp_layer *layer, int transposed, int *overflow) {
    if (transposed)
        return panels_size(be, layer->out, layer->in, overflow);
    return stays_unpacked(be, layer) ? 0 : panels_size(be, layer->in, layer->out, overflow);
}

static int dz_panel(const fbp_backend *be, int width) {
    (void)width;
    return be->kernels->nr;
}

static size_t dz_size(const fbp_backend *be, int64_t n, int width, int *overflow) {
    return panels_size(be, n, width, overflow);
}

/* a strip of K_BLOCK_GRAD rows (a last, shorter pass may use all of them), or MR rows of K_BLOCK columns */
static size_t scratch_size(const fbp_backend *be, const fbp_layer *layer, int64_t tile, int64_t n,
                           int *overflow) {
    const fbp_kernels *k = be->kernels;
    (void)tile;
    size_t rows = fbp_size(k->mr, block_of(layer->in, K_BLOCK, k->nr), be->item, overflow);
    size_t strip = fbp_size(min64(n, K_BLOCK_GRAD), k->aw, be->item, overflow);
    return rows > strip ? rows : strip;
}

static void pack(const fbp_backend *be, const fbp_layer *layer, const void *W, int i0, int i1) {
    if (layer->packed)
        be->kernels->pack_panels(layer->packed, W, layer->in, layer->out, i0, i1);
    if (layer->packed_T)
        be->kernels->pack_transposed(layer->packed_T, W, layer->out, i0, i1);
}

/* columns of the right factor that keep a block of k rows within BLOCK_BYTES, in whole panels */
static int64_t columns_of(const fbp_backend *be, int64_t k_block) {
    int64_t nr = be->kernels->nr, panels = BLOCK_BYTES / (k_block * nr * (int64_t)be->item);
    return (panels < 1 ? 1 : panels) * nr;
}

static void forward(const fbp_backend *be, const fbp_layer *layer, const void *W, const void *b, void *z,
                    const void *z_in, fbp_activation act_in, int64_t r0, int64_t r1, void *scratch) {
    const fbp_kernels *kern = be->kernels;
    int nr = kern->nr, in = layer->in, out = layer->out;
    int64_t k_block = block_of(in, K_BLOCK, nr), columns = columns_of(be, k_block);
    int64_t strip = block_of(r1 - r0, kern->mr, 1), ldb = layer->packed ? nr : out;
    if (out == 1) {
        kern->single_forward[act_in](at(z, r0, be), at(z_in, r0 * in, be), W, b, r1 - r0, in);
        return;
    }
    for (int64_t c0 = 0; c0 < out; c0 += columns) {
        int64_t c1 = min64(c0 + columns, out);
        for (int64_t k0 = 0; k0 < in; k0 += k_block) {
            int64_t k = min64(k_block, in - k0);
            for (int64_t r = r0; r < r1; r += strip) {
                int m = (int)min64(strip, r1 - r);
                kern->fill_panels[act_in](scratch, at(z_in, r * in + k0, be), in, m, (int)k);
                for (int64_t j = c0; j < c1; j += nr) {
                    const void *right =
                        layer->packed ? at(layer->packed, j * in + k0 * nr, be) : at(W, k0 * out + j, be);
                    kern->tile_panels(m, (int)min64(nr, out - j), k, scratch, kern->mr * nr, right, ldb,
                                      at(z, r * out + j, be), out, at(b, j, be), k0 > 0);
                }
            }
        }
    }
}

static void take_dz(const fbp_backend *be, const fbp_layer *layer, void *dz, const void *z, int64_t r0,
                    int64_t r1, int64_t n) {
    be->kernels->pack_panels(dz, z, n, layer->out, r0, r1);
}

static void input_grad(const fbp_backend *be, const fbp_layer *layer, const void *W, void *dz_in,
                       const void *dz, const void *z_in, fbp_activation act_in, int64_t r0, int64_t r1,
                       int64_t n) {
    const fbp_kernels *kern = be->kernels;
    int nr = kern->nr, in = layer->in, out = layer->out;
    int64_t k_block = block_of(out, K_BLOCK, nr), columns = columns_of(be, k_block);
    int64_t strip = block_of(r1 - r0, kern->mr, 1);
    (void)W;
    for (int64_t c0 = 0; c0 < in; c0 += columns) {
        int64_t c1 = min64(c0 + columns, in);
        for (int64_t k0 = 0; k0 < out; k0 += k_block) {
            int64_t k = min64(k_block, out - k0);
            int last = k0 + k == out;
            for (int64_t r = r0; r < r1; r += strip) {
                int m = (int)min64(strip, r1 - r);
                for (int64_t j = c0; j < c1; j += nr) {
                    void *c = at(dz_in, j * n + r * nr, be); /* whole panels: the padding is written too */
                    kern->tile_panels(m, nr, k, at(dz, k0 * n + r * nr, be), n * nr,
                                      at(layer->packed_T, j * out + k0 * nr, be), nr, c, nr, NULL, k0 > 0);
                    if (last && act_in != FBP_ACT_identity)
                        kern->derive[act_in](c, nr, at(z_in, r * in + j, be), in, m, (int)min64(nr, in - j));
                }
            }
        }
    }
}

static void weight_grad(const fbp_backend *be, const fbp_layer *layer, void *dW, const void *dz,
                        const void *z_in, fbp_activation act_in, int i0, int i1, int64_t n, int accumulate,
                        void *scratch) {
    const fbp_kernels *kern = be->kernels;
    int nr = kern->nr, in = layer->in, out = layer->out;
    int64_t k_block = block_of(n, K_BLOCK_GRAD, 1), columns = columns_of(be, k_block);
    int strip = (int)block_of(i1 - i0, kern->mr, 1);
    if (out == 1) {
        kern->single_grad[act_in](dW, dz, nr, at(z_in, i0, be), in, n, i1 - i0, accumulate);
        return;
    }
    for (int64_t c0 = 0; c0 < out; c0 += columns) {
        int64_t c1 = min64(c0 + columns, out);
        for (int64_t k0 = 0; k0 < n; k0 += k_block) {
            int64_t k = min64(k_block, n - k0);
            for (int i = i0; i < i1; i += strip) {
                int m = (int)min64(strip, i1 - i);
                int whole = i + kern->aw <= in; /* what lies beyond m is read and not used */
                kern->fill_strip[act_in](scratch, at(z_in, k0 * in + i, be), in, k, whole ? kern->aw : m);
                for (int64_t j = c0; j < c1; j += nr)
                    kern->tile_strip(m, (int)min64(nr, out - j), k, scratch, at(dz, j * n + k0 * nr, be), nr,
                                     at(dW, (int64_t)(i - i0) * out + j, be), out, accumulate || k0 > 0);
            }
        }
    }
}

static void bias_grad(const fbp_backend *be, const fbp_layer *layer, void *db, const void *dz, int j0, int j1,
                      int64_t n, int accumulate) {
    int nr = be->kernels->nr;
    (void)layer;
    for (int j = j0; j < j1; j += nr)
        be->kernels->panel_sums(at(db, j, be), at(dz, j * n, be), n, (int)min64(nr, j1 - j), accumulate);
}

const fbp_dense fbp_dense_packed = {
    .name = "packed",
    .row_tile = 16,
    .free_cut = 1,
    .dz_panel = dz_panel,
    .packed_size = packed_size,
    .dz_size = dz_size,
    .scratch_size = scratch_size,
    .pack = pack,
    .forward = forward,
    .take_dz = take_dz,
    .input_grad = input_grad,
    .weight_grad = weight_grad,
    .bias_grad = bias_grad,
};
