/* source: the rows that are trained on, in the order of their visit; batch: those of one pass, as the layers see them.
 * A kind of source is one file and one line here; no kernel knows which one it reads. */
#pragma once

#include "gemm/operand.h"
#include "kernels/kernels.h"

typedef struct fbp_source {
    const struct fbp_source_kind *kind;
    const fbp_data *data;
    const int64_t *order; /* row i of the visit is row order[i] of the data, or i */
} fbp_source;

typedef struct fbp_source_kind {
    /* x (n, features) = rows first..first+n in the dtype of the kernels */
    void (*gather)(const fbp_source *s, const fbp_kernels *kernels, void *x, int64_t first, int64_t n);
    /* Where row i lies, if it is consecutive numbers of dtype; else NULL. A kind may have neither. */
    const void *(*row)(const fbp_source *s, fbp_dtype dtype, int64_t i);
    /* Does `row` find them all, one after the other without a gap? */
    int (*are_consecutive)(const fbp_source *s, fbp_dtype dtype);
    /* Columns and values (in dtype) of row i, from its entry `start` on, FBP_ENTRIES_AT_ONCE at most; returns how many.
     * NULL: this kind has none. */
    int (*entries)(const fbp_source *s, fbp_dtype dtype, int64_t i, int64_t start, int *column, void *value);
} fbp_source_kind;

extern const fbp_source_kind fbp_source_dense, fbp_source_csr;

static inline fbp_source fbp_source_of(const fbp_data *data, const int64_t *order) {
    return (fbp_source){data->csr ? &fbp_source_csr : &fbp_source_dense, data, order};
}
static inline int64_t fbp_source_row(const fbp_source *s, int64_t i) { return s->order ? s->order[i] : i; }
/* sum and the weights of rows first..first+n, one after the other. */
double fbp_source_weight(const fbp_source *s, double sum, int64_t first, int64_t n);

/* Where fetched rows go: in the arena. */
typedef struct {
    void *x, *y, *weight;
} fbp_fetched;

typedef struct {
    const fbp_source *source;
    int64_t first, n; /* rows first..first+n of the source */
    fbp_operand x;    /* what the first layer multiplies: ROWS, POINTERS or ENTRIES */
    int fetches_x;    /* x lies in the arena and is filled by fbp_batch_fetch */
    const fbp_kernels *kernels;
    double scale;     /* 1 / weight sum of the mini-batch */
    int clip;
    fbp_fetched to;
} fbp_batch;

/* Decides how the first layer finds X: `sparse`, from the entries; in place where the rows lie as it wants them;
 * `reads_pointers`, row by row where they are, if they need no conversion; otherwise gathered, as always if it is to
 * be changed (`owned`). */
void fbp_batch_open(fbp_batch *batch, const fbp_source *source, const fbp_kernels *kernels, int64_t first, int64_t n,
                    int sparse, int reads_pointers, int owned, const fbp_fetched *to);
/* Brings X of rows r0..r1 of the pass; and their y and weights. */
void fbp_batch_fetch(const fbp_batch *batch, int64_t r0, int64_t r1);
void fbp_batch_fetch_targets(const fbp_batch *batch, int64_t r0, int64_t r1);
/* The targets from row r on, of so many columns. */
fbp_targets fbp_batch_targets(const fbp_batch *batch, int64_t r, int columns);
