/* The right factor of a packed product, in blocks that stay in the L2 cache, and what the tiles prefetch: the next
 * block, the rows that come next, or what the next product reads first. Included by dense_packed.c. */
#ifndef FASTBP_RIGHT_FACTOR_H
#define FASTBP_RIGHT_FACTOR_H

#include "fastbp.h"

enum {
    SMALL_BYTES = 1 << 15, /* of a W that stays in the L1 cache while rows pass by, however its rows lie */
    BLOCK_BYTES = 1 << 19, /* of the right factor, kept in the L2 cache with the next block beside it */
    LEAST_SHARE = 256      /* bytes of what comes after a product that a tile prefetches */
};

/* the length of the equal blocks that count is cut into: at most `most`, a multiple of `unit`, a power of two */
static int64_t block_of(int64_t count, int64_t most, int64_t unit) {
    if (count <= most)
        return (count + unit - 1) & -unit;
    return fbp_ceil_div(fbp_ceil_div(count, fbp_ceil_div(count, most)), unit) * unit;
}

static char *at(const void *base, int64_t index, const fbp_backend *be) {
    return (char *)base + index * (int64_t)be->item;
}

/* count rounded up to whole panels, whose width is a power of two */
static int64_t in_panels(const fbp_backend *be, int64_t count) {
    return (count + be->kernels->nr - 1) & -(int64_t)be->kernels->nr;
}

/* Columns of a block of k rows: all, if the next block may begin in the same BLOCK_BYTES; or whole panels. */
static int64_t block_columns(const fbp_backend *be, int64_t k, int64_t cols) {
    int64_t nr = be->kernels->nr, row = k * (int64_t)be->item;
    return (cols + nr) * row <= BLOCK_BYTES ? cols : fbp_max(BLOCK_BYTES / (nr * row), 1) * nr;
}

/* How its panels lie. WHOLE: (p, rows, NR). BLOCKED: block by block of k rows, each (p, k, NR), so that what is used
 * together lies together; panels a power of two apart would fall on the same lines of the L2 cache. */
typedef enum { WHOLE, BLOCKED } panel_order;

/* The right factor of a product: panels, taken in blocks of k rows by `columns`. While the s-th of `strips` strips
 * of the left factor multiplies a panel of one block, it prefetches a share of the same panel of the next block, so
 * that all blocks but the first are read from the L2 cache. */
typedef struct {
    char *panels;
    panel_order order;
    int64_t rows, cols, k, columns, strips;
} factor;

static factor factor_of(const fbp_backend *be, const void *panels, int64_t rows, int64_t cols,
                        panel_order order, int64_t strips) {
    /* rows of a left factor in panels, and tails, are read from whole panels on */
    int64_t k = block_of(rows, FBP_K_BLOCK, order == BLOCKED ? be->kernels->nr : 1);
    return (factor){(char *)panels, order, rows, cols, k, block_columns(be, k, cols), strips};
}

/* rows of the block that begins with row k0 */
static int64_t rows_of(const factor *f, int64_t k0) { return fbp_min(f->k, f->rows - k0); }

static void *panel_of(const fbp_backend *be, const factor *f, int64_t j, int64_t k0) {
    if (f->order == WHOLE)
        return at(f->panels, j * f->rows + k0 * be->kernels->nr, be);
    return at(f->panels, k0 * in_panels(be, f->cols) + j * rows_of(f, k0), be);
}

/* Beside strip s: its share of panel j of the next block, that of row k0; or what is at hand, if none follows. */
static fbp_ahead next_block(const fbp_backend *be, const factor *f, int64_t j, int64_t k0, int64_t s,
                            const void *at_hand) {
    fbp_ahead ahead = {.block = at_hand, .line = at_hand, .beside = {at_hand, at_hand}};
    if (f->panels && j < f->cols && k0 < f->rows) {
        ahead.block_step = fbp_ceil_div(be->kernels->nr * (int64_t)be->item, f->strips);
        ahead.block = (const char *)panel_of(be, f, j, k0) + s * f->k * ahead.block_step;
    }
    return ahead;
}

static void next_lines(fbp_ahead *ahead, const void *line, int64_t step) {
    ahead->line = line;
    ahead->line_step = step;
}

static void beside(fbp_ahead *ahead, int which, const void *lines, int64_t step) {
    ahead->beside[which] = lines;
    ahead->beside_step[which] = step;
}

/* No block follows: what comes after the product, in equal shares for its tiles. */
typedef struct {
    fbp_after left;
    int64_t done, share; /* bytes: of the piece, of a tile */
} shares;

static shares shares_of(const fbp_backend *be, const fbp_after *after, const factor *f) {
    if (!after->pieces)
        return (shares){0};
    int64_t tiles = f->strips * in_panels(be, fbp_min(f->columns, f->cols)) / be->kernels->nr;
    int64_t share = after->bytes * after->pieces / (tiles < 1 ? 1 : tiles);
    share = share < LEAST_SHARE ? LEAST_SHARE : (share + FBP_ALIGN - 1) & -(int64_t)FBP_ALIGN;
    return (shares){*after, 0, fbp_min(share, after->bytes)};
}

static void next_share(fbp_ahead *ahead, shares *s, int64_t k) {
    ahead->block = s->left.piece + s->done;
    ahead->block_step =
        fbp_min(fbp_ceil_div(s->share, k), FBP_ALIGN / 4); /* a small product cannot prefetch it all */
    s->done += s->share;
    if (s->done >= s->left.bytes) {
        s->done = 0;
        s->left.piece += s->left.stride;
        s->left.pieces--;
    }
}

/* Nor that: a coming row, over the k of this tile. */
static void next_row(fbp_ahead *ahead, const fbp_layer *layer, fbp_coming *coming, int64_t k) {
    const fbp_data *data = coming->rows.data;
    int64_t bytes = (int64_t)layer->in * (data->x_dtype == FBP_F32 ? 4 : 8);
    ahead->block = (const char *)data->x + fbp_row_of(&coming->rows, coming->at++) * data->row_stride;
    ahead->block_step = fbp_ceil_div(bytes, k);
}

/* The first block of a right factor */
static fbp_after first_of(const fbp_backend *be, const void *panels, int64_t rows, int64_t cols,
                          panel_order order) {
    int64_t row = be->kernels->nr * (int64_t)be->item;
    if (!panels || rows * cols * (int64_t)be->item <= SMALL_BYTES)
        return (fbp_after){0};
    factor f = factor_of(be, panels, rows, cols, order, 1);
    int64_t used = rows_of(&f, 0);
    return (fbp_after){panels, used * row, (order == WHOLE ? rows : used) * row,
                       fbp_ceil_div(fbp_min(f.columns, cols), be->kernels->nr)};
}

#endif
