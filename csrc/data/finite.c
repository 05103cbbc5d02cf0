/* finite: is every number of X one? X is read once, as fast as memory gives it: for 60 MB NumPy on one thread takes as
 * long as twenty steps of a small net. */
#include <stdatomic.h>
#include <stdlib.h>

#include "kernels/kernels.h"
#include "runtime/arena.h"
#include "runtime/pool.h"
#include "tuning.h"

typedef struct {
    int (*all_finite)(const void *x, int64_t count, int64_t stride);
    const char *x;
    int64_t lines, line_step, count, step; /* so many lines of `count` numbers; steps in bytes */
    int n_threads;
    atomic_int finite;
} search;

static void search_task(void *context, int t) {
    search *s = context;
    int64_t pieces = fbp_ceil_div(s->count, FBP_FINITE_PIECE), lo, hi; /* of a line */
    fbp_share(s->lines * pieces, t, s->n_threads, &lo, &hi);
    for (; lo < hi && atomic_load_explicit(&s->finite, memory_order_relaxed); lo++) {
        int64_t first = lo % pieces * FBP_FINITE_PIECE, count = fbp_min(s->count - first, FBP_FINITE_PIECE);
        if (!s->all_finite(s->x + lo / pieces * s->line_step + first * s->step, count, s->step))
            atomic_store_explicit(&s->finite, 0, memory_order_relaxed);
    }
}

int fbp_all_finite(const fbp_kernels *kernels, const fbp_data *data, fbp_dtype dtype, int n_threads) {
    int64_t rows = data->rows, row = data->row_stride, features = data->features, column = data->col_stride;
    search s = {.all_finite = kernels->elementwise.all_finite[dtype], .x = data->x, .finite = 1};
    if (column == (int64_t)fbp_item(data->x_dtype) && row == column * features) {
        s.lines = 1, s.count = rows * features, s.step = column;
    } else if (llabs(row) < llabs(column) || features < FBP_FINITE_SHORT_ROW) { /* column by column */
        s.lines = features, s.line_step = column, s.count = rows, s.step = row;
    } else {
        s.lines = rows, s.line_step = row, s.count = features, s.step = column;
    }
    fbp_pool *pool = NULL; /* without one it only takes longer */
    n_threads = (int)fbp_min(fbp_min(n_threads, FBP_FINITE_THREADS), rows * features / FBP_FINITE_SHARE);
    s.n_threads = fbp_pool_new(&pool, n_threads) == FBP_OK && pool ? n_threads : 1;
    fbp_pool_run(pool, search_task, &s);
    fbp_pool_free(pool);
    return atomic_load(&s.finite);
}
