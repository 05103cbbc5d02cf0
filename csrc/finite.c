/* finite: is every number of X one? X is read once, as fast as memory gives it: for 60 MB NumPy on one thread takes as
 * long as twenty steps of a small net. */
#include <stdatomic.h>

#include "fastbp.h"

enum {
    PIECE = 16384,          /* numbers that are looked at together */
    WORTH_A_TEAM = 1 << 20, /* numbers: 100 us of one thread, some times what a team costs */
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

int fbp_all_finite(const fbp_data *data, int n_threads) {
    int64_t item = data->x_dtype == FBP_F32 ? 4 : 8, numbers = data->rows * data->features;
    search s = {.all_finite = fbp_kernels_of(data->x_dtype)->all_finite, .x = data->x, .finite = 1};
    if (data->col_stride == item && data->row_stride == item * data->features) {
        s.lines = 1, s.count = numbers, s.step = item;
    } else if (data->row_stride == item) { /* columns lie side by side */
        s.lines = data->features, s.line_step = data->col_stride, s.count = data->rows, s.step = item;
    } else {
        s.lines = data->rows, s.line_step = data->row_stride, s.count = data->features,
        s.step = data->col_stride;
    }
    fbp_pool *pool = NULL; /* without one it only takes longer */
    int team = numbers >= WORTH_A_TEAM && fbp_pool_new(&pool, n_threads) == FBP_OK && pool;
    s.n_threads = team ? n_threads : 1;
    fbp_pool_run(pool, search_task, &s);
    fbp_pool_free(pool);
    return atomic_load(&s.finite);
}
