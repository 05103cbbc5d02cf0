/* operand: a matrix of a product, and how it lies. Whoever makes one decides; the products ask the operand. */
#pragma once

#include "runtime/arena.h"
#include "tuning.h"

typedef enum {
    FBP_ROWS,     /* row-major: row i at data + i * ld */
    FBP_POINTERS, /* row i at ((const void *const *)data)[i] */
    FBP_ENTRIES,  /* the non-zeros of a source: only a sparse layer can read them */
    FBP_PANELS,   /* (panels, rows, NR): NR columns side by side, padded with anything */
    FBP_BLOCKS    /* blocks of KC rows, each in panels: what is used together lies together, where whole panels a power
                   * of two apart would fall on the same lines of the L2 cache; padded with zeros */
} fbp_layout;

typedef struct {
    void *data;
    fbp_dtype dtype;
    fbp_layout layout;
    int64_t rows, ld;
    int cols, nr; /* nr: columns of a panel */
    int64_t kc;   /* rows of a block, if it is the B of a product */
} fbp_operand;

/* The length of the equal blocks that count is cut into: at most `most`, a multiple of `unit`, a power of two. */
static inline int64_t fbp_block_of(int64_t count, int64_t most, int64_t unit) {
    if (count <= most) return (count + unit - 1) & -unit;
    return fbp_ceil_div(fbp_ceil_div(count, fbp_ceil_div(count, most)), unit) * unit;
}

static inline fbp_operand fbp_rows(const void *data, fbp_dtype dtype, int64_t rows, int cols) {
    return (fbp_operand){
        .data = (void *)data, .dtype = dtype, .layout = FBP_ROWS, .rows = rows, .ld = cols, .cols = cols};
}
/* In panels, or in blocks of them. Blocks begin at multiples of nr rows: edges and rows of A in panels ask for it. */
static inline fbp_operand fbp_in_panels(void *data, fbp_dtype dtype, fbp_layout layout, int64_t rows, int cols,
                                        int nr) {
    int64_t kc = fbp_block_of(rows, FBP_KC, layout == FBP_BLOCKS ? nr : 1);
    return (fbp_operand){data, dtype, layout, rows, nr, cols, nr, kc};
}

/* count rounded up to whole panels; nr is a power of two */
static inline int64_t fbp_whole(int64_t count, int nr) { return (count + nr - 1) & -(int64_t)nr; }

/* Bytes of an operand that owns its memory. */
static inline size_t fbp_operand_bytes(const fbp_operand *m, int *overflow) {
    int panels = m->layout == FBP_PANELS || m->layout == FBP_BLOCKS;
    return fbp_size(m->rows, panels ? fbp_whole(m->cols, m->nr) : m->cols, fbp_item(m->dtype), overflow);
}

/* The number at row i, column j: of ROWS, and of PANELS (i, and whole panels from j on, follow). */
static inline void *fbp_element(const fbp_operand *m, int64_t i, int64_t j) {
    if (m->layout == FBP_PANELS)
        return fbp_at(m->data, (j & -(int64_t)m->nr) * m->rows + i * m->nr + (j & (m->nr - 1)), m->dtype);
    return fbp_at(m->data, i * m->ld + j, m->dtype);
}
