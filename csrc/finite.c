/* finite: is every number of X one? X is read once, as fast as memory gives it: for 60 MB NumPy on one thread takes as
 * long as twenty steps of a small net. */
#include <stdatomic.h>
#include <stdlib.h>

#include "fastbp.h"

enum {
    PIECE = 16384,    /* numbers that are looked at together */
    FEW_FEATURES = 8, /* rows so short are not worth a call each */
    MOST_THREADS = 8  /* enough for the memory of most machines */
};

typedef struct {
    int (*all_finite)(const void *x, int64_t count, int64_t stride);
    const char *x;
    int64_t lines, line_step, count, step; /* so many lines of `count` numbers; steps in bytes */
    int n_threads;
    atomic_int finite;
} search;

static void search_task(void *context, int t) {
    search *s = context;
    int64_t pieces = fbp_ceil_div(s->count, PIECE), lo, hi; /* of a line */
    fbp_share(s->lines * pieces, t, s->n_threads, &lo, &hi);
    for (; lo < hi && atomic_load_explicit(&s->finite, memory_order_relaxed); lo++) {
        int64_t first = lo % pieces * PIECE, count = fbp_min(s->count - first, PIECE);
        if (!s->all_finite(s->x + lo / pieces * s->line_step + first * s->step, count, s->step))
            atomic_store_explicit(&s->finite, 0, memory_order_relaxed);
    }
}

int fbp_all_finite(const fbp_kernels *kernels, const fbp_data *data, int n_threads) {
    int64_t rows = data->rows, row = data->row_stride, features = data->features, column = data->col_stride;
    search s = {.all_finite = kernels->all_finite, .x = data->x, .finite = 1};
    if (column == (data->x_dtype == FBP_F32 ? 4 : 8) && row == column * features) {
        s.lines = 1, s.count = rows * features, s.step = column;
    } else if (llabs(row) < llabs(column) || features < FEW_FEATURES) { /* column by column */
        s.lines = features, s.line_step = column, s.count = rows, s.step = row;
    } else {
        s.lines = rows, s.line_step = row, s.count = features, s.step = column;
    }
    fbp_pool *pool = NULL; /* without one it only takes longer */
    n_threads = (int)fbp_min(fbp_min(n_threads, MOST_THREADS), rows * features / FBP_FINITE_SHARE);
    s.n_threads = fbp_pool_new(&pool, n_threads) == FBP_OK && pool ? n_threads : 1;
    fbp_pool_run(pool, search_task, &s);
    fbp_pool_free(pool);
    return atomic_load(&s.finite);
}
