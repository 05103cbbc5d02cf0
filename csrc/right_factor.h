/* The right factor of a packed product, in blocks that stay in the L2 cache, and what the tiles prefetch: the next
 * block, the rows that come next, or what the next product reads first. Included by dense_packed.c. */
#ifndef FASTBP_RIGHT_FACTOR_H
#define FASTBP_RIGHT_FACTOR_H

#include "fastbp.h"

enum {
    K_BLOCK = 256,         /* summed at once: MR rows or a strip of it and a panel fit the L1 cache */
    SMALL_BYTES = 1 << 15, /* of a W that stays in the L1 cache while rows pass by, however its rows lie */
    BLOCK_BYTES = 1 << 19, /* of the right factor, kept in the L2 cache with the next block beside it */
    LEAST_SHARE = 256      /* bytes of what comes after a product that a tile prefetches */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* the length of the equal blocks that count is cut into: at most `most`, a multiple of `unit`, a power of two */
static int64_t block_of(int64_t count, int64_t most, int64_t unit) {
    if (count <= most)
        return (count + unit - 1) & -unit;
    return ceil_div(ceil_div(count, ceil_div(count, most)), unit) * unit;
}

static char *at(const void *base, int64_t index, const fbp_backend *be) {
    return (char *)base + index * (int64_t)be->item;
}

/* cache lines of a row of a panel */
static int line_of(const fbp_backend *be) { return be->kernels->nr * (int)be->item / (int)FBP_ALIGN; }

/* count rounded up to whole panels, whose width is a power of two */
static int64_t in_panels(const fbp_backend *be, int64_t count) {
    return (count + be->kernels->nr - 1) & -(int64_t)be->kernels->nr;
}

/* Columns of a right factor whose blocks of k rows are within BLOCK_BYTES, in whole panels. */
static int64_t block_columns(const fbp_backend *be, int64_t k) {
    int64_t nr = be->kernels->nr, panels = BLOCK_BYTES / (k * nr * (int64_t)be->item);
    return (panels < 1 ? 1 : panels) * nr;
}

/* The right factor of a product: panels (p, rows, NR), taken in blocks of k rows by `columns`. While the s-th of
 * `strips` strips of the left factor multiplies a panel of one block, it prefetches a share of the same panel of
 * the next block, so that all blocks but the first are read from the L2 cache. */
typedef struct {
    const void *panels;
    int64_t rows, cols, k, columns, strips;
} factor;

static factor factor_of(const fbp_backend *be, const void *panels, int64_t rows, int64_t cols, int64_t unit,
                        int64_t strips) {
    int64_t k = block_of(rows, K_BLOCK, unit), whole = k * (cols + be->kernels->nr) * (int64_t)be->item;
    return (factor){panels, rows, cols, k, whole <= BLOCK_BYTES ? cols : block_columns(be, k), strips};
}

static const void *panel_of(const fbp_backend *be, const factor *f, int64_t j, int64_t k0) {
    return at(f->panels, j * f->rows + k0 * be->kernels->nr, be);
}

/* Beside strip s: its share of panel j of the next block, that of row k0; or what is at hand, if none follows. */
static fbp_ahead next_block(const fbp_backend *be, const factor *f, int64_t j, int64_t k0, int64_t s,
                            const void *at_hand) {
    fbp_ahead ahead = {.block = at_hand};
    if (f->panels && j < f->cols && k0 < f->rows) {
        ahead.step = ceil_div(be->kernels->nr * (int64_t)be->item, f->strips);
        ahead.block = (const char *)panel_of(be, f, j, k0) + s * f->k * ahead.step;
    }
    return ahead;
}

static void next_lines(fbp_ahead *ahead, const void *line, int64_t stride, int64_t lines) {
    ahead->line = line;
    ahead->stride = stride;
    ahead->lines = (int)lines;
}

/* No block follows: what comes after the product, in equal shares for its tiles. */
typedef struct {
    fbp_after left;
    int64_t done, share; /* bytes: of the piece, of a tile */
} shares;

static shares shares_of(const fbp_backend *be, const fbp_after *after, const factor *f) {
    if (!after->pieces)
        return (shares){0};
    int64_t tiles = f->strips * in_panels(be, min64(f->columns, f->cols)) / be->kernels->nr;
    int64_t share = after->bytes * after->pieces / (tiles < 1 ? 1 : tiles);
    share = share < LEAST_SHARE ? LEAST_SHARE : (share + FBP_ALIGN - 1) & -FBP_ALIGN;
    return (shares){*after, 0, min64(share, after->bytes)};
}

static void next_share(fbp_ahead *ahead, shares *s, int64_t k) {
    ahead->block = s->left.piece + s->done;
    ahead->step = min64(ceil_div(s->share, k), FBP_ALIGN / 4); /* a small product cannot prefetch it all */
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
    ahead->step = ceil_div(bytes, k);
}

/* The first block of a right factor */
static fbp_after first_of(const fbp_backend *be, const void *panels, int64_t rows, int64_t cols,
                          int64_t unit) {
    int64_t row = be->kernels->nr * (int64_t)be->item;
    if (!panels || rows * cols * (int64_t)be->item <= SMALL_BYTES)
        return (fbp_after){0};
    factor f = factor_of(be, panels, rows, cols, unit, 1);
    return (fbp_after){panels, min64(f.k, rows) * row, rows * row,
                       ceil_div(min64(f.columns, cols), be->kernels->nr)};
}

#endif
