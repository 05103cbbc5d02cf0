/* Waiting spins for a short while; then a worker sleeps, and the caller lets others run. With more threads than cores
 * both sleep at once.
 * Whoever wakes workers keeps them off the core that it runs on itself: left alone, Linux may put them there, and two
 * threads that wake each other stay on one core for 10 ms and more while another is idle. The caller's thread is not
 * ours: it does not sleep, so its cores need not be touched. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tuning.h"
#include "runtime/os.h"
#include "runtime/pool.h"

/* A thread that sleeps, on its own stack; a list under the mutex. */
typedef struct sleeper {
    struct sleeper *next;
    fbp_whereabouts where;
} sleeper;

struct fbp_pool {
    int n_threads, spins;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    _Atomic(sleeper *) asleep;
    atomic_uint round; /* counts runs; workers wait for a new one */
    atomic_uint phase; /* counts barriers */
    atomic_int arrived;
    atomic_int started, stop;
    fbp_task *task;
    void *context;
    _Atomic(pthread_t) caller;
    pthread_t threads[]; /* n_threads - 1 */
};

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void keep_off_here(sleeper *list) {
    for (int core = fbp_os_this_core(); list; list = list->next) fbp_os_keep_off(&list->where, core);
}

/* Waits until *counter differs from seen. */
static void wait_change(fbp_pool *pool, atomic_uint *counter, unsigned seen) {
    for (int i = 0; i < pool->spins; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) != seen) return;
        relax();
    }
    while (pool->spins && pthread_equal(pthread_self(), atomic_load(&pool->caller))) {
        if (atomic_load_explicit(counter, memory_order_acquire) != seen) return;
        sched_yield();
    }
    sleeper self = {.where = fbp_os_this_thread()}, *before;
    pthread_mutex_lock(&pool->mutex);
    self.next = atomic_load(&pool->asleep);
    atomic_store(&pool->asleep, &self);
    while (atomic_load(counter) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
    before = atomic_load(&pool->asleep);
    if (before == &self) {
        atomic_store(&pool->asleep, self.next);
    } else {
        while (before->next != &self) before = before->next;
        before->next = self.next;
    }
    pthread_mutex_unlock(&pool->mutex);
    fbp_os_may_go_anywhere(&self.where);
}

/* Sequentially consistent on both sides: either the sleeper sees the new count or we see the sleeper. */
static void advance(fbp_pool *pool, atomic_uint *counter) {
    atomic_fetch_add(counter, 1);
    if (atomic_load(&pool->asleep)) {
        pthread_mutex_lock(&pool->mutex);
        if (pool->spins) /* there is a core for each thread */
            keep_off_here(atomic_load(&pool->asleep));
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

void fbp_pool_barrier(fbp_pool *pool) {
    if (!pool) return;
    unsigned phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == pool->n_threads) {
        atomic_store(&pool->arrived, 0);
        advance(pool, &pool->phase);
    } else {
        wait_change(pool, &pool->phase, phase);
    }
}

static void *work(void *argument) {
    fbp_pool *pool = argument;
    int t = 1 + atomic_fetch_add(&pool->started, 1); /* which thread does which part does not matter */
    unsigned round = 0;
    for (;;) {
        wait_change(pool, &pool->round, round);
        round++;
        if (atomic_load(&pool->stop)) return NULL;
        pool->task(pool->context, t);
        fbp_pool_barrier(pool);
    }
}

void fbp_pool_run(fbp_pool *pool, fbp_task *task, void *context) {
    if (!pool) {
        task(context, 0);
        return;
    }
    pool->task = task;
    pool->context = context;
    atomic_store(&pool->caller, pthread_self());
    advance(pool, &pool->round);
    task(context, 0);
    fbp_pool_barrier(pool);
}

static void join(fbp_pool *pool, int started) {
    atomic_store(&pool->stop, 1);
    advance(pool, &pool->round);
    for (int i = 0; i < started; i++) pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

fbp_status fbp_pool_new(fbp_pool **out, int n_threads) {
    *out = NULL;
    if (n_threads <= 1) return FBP_OK;
    fbp_pool *pool = calloc(1, sizeof *pool + (size_t)(n_threads - 1) * sizeof(pthread_t));
    if (!pool) return FBP_ENOMEM;
    pool->n_threads = n_threads;
    atomic_init(&pool->caller, pthread_self());
    pool->spins = n_threads <= fbp_os_cores() ? FBP_SPINS : 0;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    int started = fbp_os_start(pool->threads, n_threads - 1, work, pool);
    if (started < n_threads - 1) {
        join(pool, started);
        return FBP_ETHREAD;
    }
    *out = pool;
    return FBP_OK;
}

void fbp_pool_forget(fbp_pool *pool) {
    if (!pool) return;
    pool->n_threads = 1;
    atomic_store(&pool->arrived, 0);
    atomic_store(&pool->asleep, NULL);
}

void fbp_pool_free(fbp_pool *pool) {
    if (pool) join(pool, pool->n_threads - 1);
}
