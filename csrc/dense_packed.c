/* dense by packed kernels: W and W^T stay packed in panels from step to step, refreshed as the update goes
 * by, so no product repacks them. dz lives in panels (p, n, NR): it is the right factor of the weight
 * gradient as it stands, and the left factor of the input gradient, rows that span panels copied side by side.
 * z stays row-major; f is applied while a few rows (forward) or columns (weight gradient) of it are filled
 * into a buffer that the L1 cache holds, so a = f(z) never exists as a matrix. */
#include "fastbp.h"
#include "right_factor.h"

enum {
    NEAR_BYTES = 1 << 18,   /* of the operands of a product that need no prefetching */
    BEYOND_BYTES = 1 << 20, /* of a z that is not in the L2 cache any more */
    STRIPS = 9,             /* of the weight gradient that are filled together */
    STRIPS_ONCE = 2,        /* the same, if they are used once and lie near: neighbours share lines of z */
    LONG_ROW = 1024,        /* bytes of a row of X that is better read where it is */
    TAIL_ROWS = 64,         /* of a W whose last columns may be a tail: its sums are worth adding up */
    ROWS_AT_ONCE = 8        /* of z that are cut into strips together: their lines stay in the L1 cache */
};

static size_t panels_size(const fbp_backend *be, int64_t rows, int cols, int *overflow) {
    return fbp_size(rows, in_panels(be, cols), be->item, overflow);
}

/* A small W of whole panels is a right factor as it stands; W of one output is used as a vector. */
static int stays_unpacked(const fbp_backend *be, const fbp_layer *layer) {
    return layer->out == 1 || (layer->out % be->kernels->nr == 0 &&
                               (size_t)layer->in * (size_t)layer->out * be->item <= SMALL_BYTES);
}

/* The last columns of W, if they are a tail; see tail_template.h. */
static int tail_of(const fbp_backend *be, const fbp_layer *layer) {
    int tail = layer->out & (be->kernels->nr / 2 - 1); /* nr is a power of two */
    return layer->out > 1 && layer->in >= TAIL_ROWS && tail <= be->kernels->most_tail ? tail : 0;
}

/* numbers of a group of tail columns, and of the panels before the tail */
static int64_t tail_group(const fbp_backend *be, const fbp_layer *layer) {
    return in_panels(be, layer->in) * 4;
}
static int64_t before_tail(const fbp_backend *be, const fbp_layer *layer) {
    return in_panels(be, layer->out - tail_of(be, layer)) * layer->in;
}

static size_t packed_size(const fbp_backend *be, const fbp_layer *layer, int transposed, int *overflow) {
    if (transposed)
        return layer->out == 1 ? 0 : panels_size(be, layer->out, layer->in, overflow);
    if (stays_unpacked(be, layer))
        return 0;
    int tail = tail_of(be, layer);
    size_t panels = panels_size(be, layer->in, layer->out - tail, overflow);
    return panels + fbp_size(fbp_ceil_div(tail, 4), tail_group(be, layer), be->item, overflow);
}

static int dz_panel(const fbp_backend *be, int width) {
    (void)width;
    return be->kernels->nr;
}

static size_t dz_size(const fbp_backend *be, int64_t n, int width, int *overflow) {
    return panels_size(be, n, width, overflow);
}

/* Does the weight gradient have several blocks of columns, so that its strips are used again? */
static int strips_again(const fbp_backend *be, const fbp_layer *layer, int64_t k) {
    int whole = layer->out - tail_of(be, layer);
    return block_columns(be, k, whole) < whole;
}

/* May its left factor be rows of X where they are? They are read well only by many columns at a time. */
static int has_long_rows(const fbp_backend *be, const fbp_layer *layer) {
    return layer->W == 0 && layer->out > 1 && layer->in * (int64_t)be->item >= LONG_ROW;
}

/* MR rows of the left factor, or the strips of the weight gradient. A pass of fewer rows has shorter blocks, so more
 * columns in each and fewer strips; never more than min(n, FBP_K_BLOCK) rows of them. */
static size_t scratch_size(const fbp_backend *be, const fbp_layer *layer, int64_t tile, int64_t n,
                           int *overflow) {
    const fbp_kernels *kern = be->kernels;
    int row = FBP_ROW(layer->in > layer->out ? layer->in : layer->out, kern->nr);
    int64_t k = fbp_min(n, FBP_K_BLOCK);
    int many = strips_again(be, layer, k) || has_long_rows(be, layer);
    (void)tile;
    size_t rows = fbp_size(kern->mr, row, be->item, overflow);
    size_t strips = fbp_size(many ? STRIPS * kern->aw : STRIPS_ONCE * kern->aw, k, be->item, overflow);
    return rows > strips ? rows : strips;
}

static factor factor_of_W(const fbp_backend *be, const fbp_layer *layer, int64_t strips) {
    return factor_of(be, layer->packed, layer->in, layer->out - tail_of(be, layer), BLOCKED, strips);
}
static factor factor_of_W_T(const fbp_backend *be, const fbp_layer *layer, int64_t strips) {
    return factor_of(be, layer->packed_T, layer->out, layer->in, BLOCKED, strips);
}

/* Rows i0..i1 of W go into those blocks of rows that they are in, and its columns into all blocks of W^T. */
static void pack(const fbp_backend *be, const fbp_layer *layer, const void *W, int i0, int i1) {
    const fbp_kernels *kern = be->kernels;
    int in = layer->in, out = layer->out, tail = tail_of(be, layer), whole = out - tail;
    factor f = factor_of_W(be, layer, 1), f_T = factor_of_W_T(be, layer, 1);
    for (int64_t k0 = i0 / f.k * f.k; f.panels && k0 < i1; k0 += f.k)
        kern->pack_panels(panel_of(be, &f, 0, k0), at(W, k0 * out, be), out, rows_of(&f, k0), whole,
                          fbp_max(i0 - k0, 0), fbp_min(i1 - k0, f.k));
    if (layer->packed && tail)
        kern->pack_tail(at(layer->packed, before_tail(be, layer), be), at(W, whole, be), out, in, tail, i0,
                        i1);
    for (int64_t k0 = 0; f_T.panels && k0 < out; k0 += f_T.k)
        kern->pack_transposed(panel_of(be, &f_T, 0, k0), at(W, k0, be), out, (int)rows_of(&f_T, k0), i0, i1);
}

static fbp_after first_of_W(const fbp_backend *be, const fbp_layer *layer, int transposed) {
    if (transposed)
        return first_of(be, layer->packed_T, layer->out, layer->in, BLOCKED);
    return first_of(be, layer->packed, layer->in, layer->out - tail_of(be, layer), BLOCKED);
}

static fbp_after first_of_dz(const fbp_backend *be, const fbp_layer *layer, const void *dz, int64_t n) {
    return first_of(be, dz, n, layer->out, WHOLE);
}

/* Is the whole product of n rows within reach of the L2 cache, so that looking ahead is in vain? */
static int is_near(const fbp_backend *be, const fbp_layer *layer, int64_t n) {
    int64_t in = layer->in, out = layer->out;
    return (in * out + n * (in + out)) * (int64_t)be->item <= NEAR_BYTES;
}

/* Row r of a left factor, from column i on */
static const void *left_row(const fbp_backend *be, const fbp_layer *layer, const fbp_left *left, int64_t r,
                            int64_t i) {
    return left->rows ? at(fbp_row_at(left->rows, r), i, be) : at(left->z, r * layer->in + i, be);
}

static int takes_rows(const fbp_backend *be, const fbp_layer *layer, int64_t n) {
    return has_long_rows(be, layer) && n * layer->in * (int64_t)be->item <= BEYOND_BYTES &&
           !is_near(be, layer, n);
}

static void forward(const fbp_backend *be, const fbp_layer *layer, const void *W, const void *b, void *z,
                    const fbp_left *left, int64_t r0, int64_t r1, void *scratch, const fbp_after *after) {
    const fbp_kernels *kern = be->kernels;
    int nr = kern->nr, in = layer->in, out = layer->out;
    if (out == 1) {
        kern->single_forward[left->act](at(z, r0, be), at(left->z, r0 * in, be), W, b, r1 - r0, in);
        return;
    }
    int64_t strip = block_of(r1 - r0, kern->mr, 1), ldb = layer->packed ? nr : out;
    int64_t row_bytes = out * (int64_t)be->item;
    int near = is_near(be, layer, r1 - r0), tail = tail_of(be, layer), whole = out - tail;
    const void *tails = tail ? at(layer->packed, before_tail(be, layer), be) : NULL;
    factor f = factor_of_W(be, layer, fbp_ceil_div(r1 - r0, strip));
    shares rest = shares_of(be, after, &f);
    int64_t c0 = 0, c1;
    do {
        c1 = fbp_min(c0 + f.columns, whole);
        for (int64_t k0 = 0; k0 < in; k0 += f.k) {
            int64_t k = fbp_min(f.k, in - k0);
            int64_t next_k = k0 + k < in ? k0 + k : 0, next_j = next_k ? 0 : f.columns;
            for (int64_t r = r0, s = 0; r < r1; r += strip, s++) {
                int m = (int)fbp_min(strip, r1 - r);
                if (left->rows)
                    kern->gather_rows(scratch, left->rows, r, k0, m, (int)k);
                else
                    kern->fill_rows[left->act](scratch, at(left->z, r * in + k0, be), in, m, (int)k);
                for (int64_t j = c0, next = r + strip; j < c1; j += nr, next++) {
                    void *c = at(z, r * out + j, be);
                    fbp_epilogue then = {.accumulate = k0 > 0, .bias = at(b, j, be)};
                    fbp_ahead ahead;
                    if (!near) {
                        ahead = next_block(be, &f, j + next_j, next_k, s, scratch);
                        beside(&ahead, 0, c, row_bytes);
                    }
                    if (!near && !ahead.block_step && rest.left.pieces)
                        next_share(&ahead, &rest, k);
                    if (!near && next < r1) /* a row of the next strip beside each panel */
                        next_lines(&ahead, left_row(be, layer, left, next, k0), (int64_t)be->item);
                    kern->tile_rows(m, (int)fbp_min(nr, whole - j), k, scratch,
                                    f.panels ? panel_of(be, &f, j, k0) : at(W, k0 * out + j, be), ldb, c, out,
                                    &then, near ? NULL : &ahead);
                }
                if (tail && c1 == whole)
                    kern->tail_forward(m, tail, k, scratch, at(tails, k0 * 4, be), tail_group(be, layer),
                                       at(z, r * out + whole, be), out, at(b, whole, be), k0 > 0);
            }
        }
    } while ((c0 = c1) < whole);
}

static void take_dz(const fbp_backend *be, const fbp_layer *layer, void *dz, const void *z, int64_t r0,
                    int64_t r1, int64_t n) {
    be->kernels->pack_panels(dz, z, layer->out, n, layer->out, r0, r1);
}

static void input_grad(const fbp_backend *be, const fbp_layer *layer, const void *W, void *dz_in,
                       const void *dz, const void *z_in, fbp_activation act_in, int64_t r0, int64_t r1,
                       int64_t n, void *scratch, const fbp_after *after) {
    const fbp_kernels *kern = be->kernels;
    int nr = kern->nr, in = layer->in, out = layer->out;
    if (out == 1) {
        kern->single_input_grad[act_in](dz_in, z_in, W, dz, nr, n, r0, r1, in);
        return;
    }
    int64_t strip = block_of(r1 - r0, kern->mr, 1);
    int near = is_near(be, layer, r1 - r0);
    factor f = factor_of_W_T(be, layer, fbp_ceil_div(r1 - r0, strip));
    shares rest = shares_of(be, after, &f);
    int64_t panel_row = nr * (int64_t)be->item, z_row = in * (int64_t)be->item; /* bytes */
    for (int64_t c0 = 0; c0 < in; c0 += f.columns) {
        int64_t c1 = fbp_min(c0 + f.columns, in);
        for (int64_t k0 = 0; k0 < out; k0 += f.k) {
            int64_t k = fbp_min(f.k, out - k0);
            int last = k0 + k == out;
            int64_t next_k = last ? 0 : k0 + k, next_j = last ? f.columns : 0;
            for (int64_t r = r0, s = 0; r < r1; r += strip, s++) {
                int m = (int)fbp_min(strip, r1 - r);
                const void *left = at(dz, k0 * n + r * nr, be);
                if (out > nr) { /* rows of several panels */
                    kern->copy_rows(scratch, left, n * nr, m, (int)k);
                    left = scratch;
                }
                for (int64_t j = c0, next = k0; j < c1; j += nr, next += nr) {
                    void *c = at(dz_in, j * n + r * nr, be); /* whole panels: padding too, with anything */
                    const char *z = at(z_in, r * in + j, be);
                    int derived = last && act_in != FBP_ACT_identity;
                    int gated = derived && act_in == FBP_ACT_relu && j + nr <= in;
                    fbp_epilogue then = {.accumulate = k0 > 0, .gate = gated ? z : NULL, .ldg = in};
                    fbp_ahead ahead;
                    if (!near) {
                        ahead = next_block(be, &f, j + next_j, next_k, s, left);
                        beside(&ahead, 0, c, panel_row);
                        if (derived)
                            beside(&ahead, 1, z, z_row);
                    }
                    if (!near && !ahead.block_step && rest.left.pieces)
                        next_share(&ahead, &rest, k);
                    if (!near && next < k0 + k && r + strip < r1) /* a panel of the next strip beside each */
                        next_lines(&ahead, at(dz, next * n + (r + strip) * nr, be),
                                   fbp_min(fbp_ceil_div(m * panel_row, k), FBP_ALIGN));
                    kern->tile_rows(m, nr, k, left, panel_of(be, &f, j, k0), nr, c, nr, &then,
                                    near ? NULL : &ahead);
                    if (derived && !gated)
                        kern->derive[act_in](c, nr, z, in, m, (int)fbp_min(nr, in - j));
                }
            }
        }
    }
}

/* strips (s, k, AW) = left[k0 .. k0+k, i0 .. i1], `strip` columns in each */
static void fill_strips(const fbp_backend *be, void *strips, const fbp_left *left, int in, int64_t i0,
                        int64_t i1, int64_t strip, int64_t k0, int64_t k) {
    const fbp_kernels *kern = be->kernels;
    if (left->rows) {
        kern->gather_strips(strips, left->rows, k0, k, i0, i1, strip, in);
        return;
    }
    int64_t at_once = i1 - i0 > strip ? ROWS_AT_ONCE : k;
    for (int64_t r = 0; r < k; r += at_once) {
        const char *z = at(left->z, (k0 + r) * in, be);
        int64_t rows = fbp_min(at_once, k - r);
        for (int64_t i = i0, s = 0; i < i1; i += strip, s++) {
            int whole = i + kern->aw <= in; /* what lies beyond the strip is read and not used */
            kern->fill_strip[left->act](at(strips, (s * k + r) * kern->aw, be), at(z, i, be), in, rows,
                                        whole ? kern->aw : (int)fbp_min(strip, i1 - i));
        }
    }
}

/* Beside a tile of dW, rows i.. and columns j..: where its weights are packed, about as many lines in either */
static void beside_packed(const fbp_backend *be, fbp_ahead *ahead, const factor *W, const factor *W_T,
                          int64_t i, int64_t j) {
    int64_t nr = be->kernels->nr, row_bytes = nr * (int64_t)be->item;
    if (W->panels)
        beside(ahead, 0, at(panel_of(be, W, j, i / W->k * W->k), i % W->k * nr, be), row_bytes);
    if (W_T->panels)
        beside(ahead, 1, at(panel_of(be, W_T, i & -nr, j / W_T->k * W_T->k), (j % W_T->k + i % nr) * nr, be),
               row_bytes);
}

static void weight_grad(const fbp_backend *be, const fbp_layer *layer, void *dW, const void *dz,
                        const fbp_left *left, int i0, int i1, int64_t n, int accumulate, void *scratch,
                        const fbp_after *after, fbp_coming *coming) {
    const fbp_kernels *kern = be->kernels;
    int nr = kern->nr, in = layer->in, out = layer->out;
    if (out == 1) {
        kern->single_grad[left->act](dW, dz, nr, at(left->z, i0, be), in, n, i1 - i0, accumulate);
        return;
    }
    int64_t strip = block_of(i1 - i0, kern->mr, 1);
    int near = is_near(be, layer, n);
    int in_place = near && left->act == FBP_ACT_identity && !left->rows;
    int tail = in_place ? 0 : tail_of(be, layer), whole = out - tail;
    factor f = factor_of(be, dz, n, whole, WHOLE, fbp_ceil_div(i1 - i0, strip));
    int64_t lda = in_place ? in : kern->aw, row_bytes = out * (int64_t)be->item;
    shares rest = shares_of(be, after, &f);
    int again = strips_again(be, layer, f.k);
    int many = again || (left->rows && has_long_rows(be, layer));
    int64_t together = many ? STRIPS : near ? 1 : STRIPS_ONCE, group = together * strip;
    /* rows of z beyond the L2 cache are prefetched strip by strip; nearer ones are better left alone */
    int beyond = !again && !left->rows && n * in * (int64_t)be->item > BEYOND_BYTES;
    /* The packed copies of these weights are written next; they are in the caches of other cores until asked for. */
    int packs_soon = !near && (int64_t)(i1 - i0) * row_bytes <= BLOCK_BYTES;
    factor W = {0}, W_T = {0};
    if (packs_soon) {
        W = factor_of_W(be, layer, 1);
        W_T = factor_of_W_T(be, layer, 1);
    }
    if (again)
        f.strips = together;
    for (int64_t k0 = 0; k0 < n; k0 += f.k) {
        int64_t k = fbp_min(f.k, n - k0);
        for (int64_t g0 = i0, turn = 0; g0 < i1; g0 += group) {
            int64_t g1 = fbp_min(g0 + group, i1);
            if (!in_place)
                fill_strips(be, scratch, left, in, g0, g1, strip, k0, k);
            int64_t c0 = 0, c1;
            do {
                c1 = fbp_min(c0 + f.columns, whole);
                int64_t next_j = c1 < whole ? f.columns : -c0;
                int64_t next_k = c1 < whole || (again && g1 < i1) ? k0 : k0 + k;
                for (int64_t i = g0, s = 0; i < g1; i += strip, s++, turn++) {
                    int m = (int)fbp_min(strip, i1 - i);
                    const void *a =
                        in_place ? at(left->z, k0 * in + i, be) : at(scratch, s * k * kern->aw, be);
                    for (int64_t j = c0; j < c1; j += nr) {
                        void *c = at(dW, (i - i0) * out + j, be);
                        fbp_ahead ahead;
                        if (!near) {
                            ahead = next_block(be, &f, j + next_j, next_k, again ? s : turn, a);
                            if (packs_soon && k0 + k == n)
                                beside_packed(be, &ahead, &W, &W_T, i, j);
                            else
                                beside(&ahead, 0, c, row_bytes);
                        }
                        if (beyond && j == c0 && i + strip < i1) /* the next strip: the ends of its rows */
                            next_lines(&ahead, at(left->z, k0 * in + i + strip + kern->aw - 1, be),
                                       in * (int64_t)be->item);
                        if (!near && !ahead.block_step && rest.left.pieces)
                            next_share(&ahead, &rest, k);
                        else if (!near && !ahead.block_step && coming && coming->at < coming->end)
                            next_row(&ahead, layer, coming, k);
                        kern->tile_strip(m, (int)fbp_min(nr, whole - j), k, a, lda, panel_of(be, &f, j, k0),
                                         nr, c, out, accumulate || k0 > 0, near ? NULL : &ahead);
                    }
                    if (tail && c1 == whole) {
                        int64_t j = whole & -nr; /* the panel that they are in */
                        kern->tail_grad(m, tail, k, a, lda, at(panel_of(be, &f, j, k0), whole - j, be),
                                        at(dW, (i - i0) * out + whole, be), out, accumulate || k0 > 0);
                    }
                }
            } while ((c0 = c1) < whole);
        }
    }
}

static void bias_grad(const fbp_backend *be, const fbp_layer *layer, void *db, const void *dz, int j0, int j1,
                      int64_t n, int accumulate) {
    int nr = be->kernels->nr;
    (void)layer;
    for (int j = j0; j < j1; j += nr)
        be->kernels->panel_sums(at(db, j, be), at(dz, j * n, be), n, (int)fbp_min(nr, j1 - j), accumulate);
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
    .first_of_W = first_of_W,
    .first_of_dz = first_of_dz,
    .takes_rows = takes_rows,
    .forward = forward,
    .take_dz = take_dz,
    .input_grad = input_grad,
    .weight_grad = weight_grad,
    .bias_grad = bias_grad,
};
