/* pool: a persistent team of threads. The contract is the serial loop
 *     for (t = 0; t < n_threads; t++) task(context, t);
 * run at once, the caller being t = 0; a NULL pool runs task(context, 0).
 * A forked child has none of the threads: its owner must forget this team and make a new one. */
#pragma once

#include "fastbp.h"

typedef struct fbp_pool fbp_pool;
typedef void fbp_task(void *context, int t);

fbp_status fbp_pool_new(fbp_pool **pool, int n_threads);
void fbp_pool_free(fbp_pool *pool);
/* In a forked child: the caller is alone from now on, also in a task that it is in. The memory is lost. */
void fbp_pool_forget(fbp_pool *pool);
/* Runs task(context, t) for every t at once, t = 0 on the caller; returns when all are done. */
void fbp_pool_run(fbp_pool *pool, fbp_task *task, void *context);
/* Inside a task: waits until every thread of the team is here. */
void fbp_pool_barrier(fbp_pool *pool);

/* The t-th of n_threads equal parts of 0..count. */
static inline void fbp_share(int64_t count, int t, int n_threads, int64_t *lo, int64_t *hi) {
    *lo = count * t / n_threads;
    *hi = count * (t + 1) / n_threads;
}
