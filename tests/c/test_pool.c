/* The pool: every run is the serial loop done at once, barriers hold everybody and publish what was
 * written before them, teams come and go, and a NULL pool is one thread. */
#include "check.h"
#include "runtime/pool.h"

#include <pthread.h>
#include <sched.h>
#ifdef __linux__
#include <sys/resource.h>
#include <sys/wait.h>
#endif

enum { MOST = 8, BARRIERS = 2000, RUNS = 3000 };

typedef struct {
    fbp_pool *pool;
    int n_threads;
    pthread_t caller;
    int64_t done[MOST][8]; /* a cache line each, plain: the pool must order it */
} team;

static team new_team(int n_threads) {
    team self = {.n_threads = n_threads, .caller = pthread_self()};
    fbp_status status = fbp_pool_new(&self.pool, n_threads);
    CHECK(status == FBP_OK && (self.pool != NULL) == (n_threads > 1), "%d threads: status %d", n_threads, status);
    return self;
}

static void count_task(void *context, int t) {
    team *self = context;
    CHECK(t >= 0 && t < self->n_threads, "thread %d of %d", t, self->n_threads);
    CHECK((t == 0) == (pthread_equal(pthread_self(), self->caller) != 0), "thread %d is not where it belongs", t);
    self->done[t][0]++;
}

static void every_run_is_the_serial_loop(int n_threads) {
    team self = new_team(n_threads);
    for (int run = 1; run <= RUNS; run++) {
        fbp_pool_run(self.pool, count_task, &self);
        for (int t = 0; t < n_threads; t++)
            CHECK(self.done[t][0] == run, "run %d: thread %d ran %ld times", run, t, (long)self.done[t][0]);
        if (run % 1000 == 0) usleep(3000); /* long enough for the team to fall asleep */
    }
    fbp_pool_free(self.pool);
}

static void barrier_task(void *context, int t) {
    team *self = context;
    for (int64_t phase = 1; phase <= BARRIERS; phase++) {
        self->done[t][0]++;
        if ((phase * 7 + t * 3) % 97 == 0) sched_yield();
        if ((phase + 131 * t) % 999 == 0) usleep(300); /* the others stop spinning and sleep */
        fbp_pool_barrier(self->pool);
        for (int other = 0; other < self->n_threads; other++)
            CHECK(self->done[other][0] == phase, "barrier %ld: thread %d sees %d at %ld", (long)phase, t, other,
                  (long)self->done[other][0]);
        fbp_pool_barrier(self->pool);
    }
}

static void nobody_passes_a_barrier_early(int n_threads) {
    team self = new_team(n_threads);
    for (int run = 0; run < 2; run++) {
        memset(self.done, 0, sizeof self.done);
        fbp_pool_run(self.pool, barrier_task, &self);
    }
    fbp_pool_free(self.pool);
}

/* What a step does: threads write parts, a barrier, every thread reads all of them. */
typedef struct {
    team team;
    double part[64], whole[MOST];
} summing;

static void sum_task(void *context, int t) {
    summing *self = context;
    for (int step = 1; step <= 300; step++) {
        int64_t lo, hi;
        fbp_share(64, t, self->team.n_threads, &lo, &hi);
        for (int64_t i = lo; i < hi; i++) self->part[i] = (double)(step * (i + 1));
        fbp_pool_barrier(self->team.pool);
        self->whole[t] = 0;
        for (int i = 0; i < 64; i++) self->whole[t] += self->part[i];
        CHECK(self->whole[t] == step * 64.0 * 65.0 / 2.0, "step %d, thread %d: %g", step, t, self->whole[t]);
        fbp_pool_barrier(self->team.pool);
    }
}

static void parts_are_seen_by_all(int n_threads) {
    summing self = {.team = new_team(n_threads)};
    fbp_pool_run(self.team.pool, sum_task, &self);
    fbp_pool_free(self.team.pool);
}

static void teams_come_and_go(void) {
    for (int round = 0; round < 200; round++) {
        team self = new_team(1 + round % MOST);
        for (int run = 0; run < round % 4; run++) fbp_pool_run(self.pool, count_task, &self);
        for (int t = 0; t < self.n_threads; t++) CHECK(self.done[t][0] == round % 4, "round %d", round);
        if (round % 50 == 0) usleep(2000);
        fbp_pool_free(self.pool);
    }
}

static void *work_alone(void *unused) {
    (void)unused;
    for (int n_threads = 2; n_threads <= 4; n_threads++) {
        team self = new_team(n_threads);
        for (int run = 1; run <= 200; run++) {
            fbp_pool_run(self.pool, count_task, &self);
            for (int t = 0; t < n_threads; t++) CHECK(self.done[t][0] == run, "run %d, thread %d", run, t);
        }
        fbp_pool_free(self.pool);
    }
    return NULL;
}

static void teams_do_not_know_each_other(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, work_alone, NULL) == 0, "thread %d", i);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

static void no_pool_is_one_thread(void) {
    team self = new_team(1);
    for (int n = -1; n <= 1; n++) {
        fbp_pool *pool = (fbp_pool *)&self;
        CHECK(fbp_pool_new(&pool, n) == FBP_OK && !pool, "%d threads", n);
    }
    fbp_pool_run(NULL, barrier_task, &self);
    CHECK(self.done[0][0] == BARRIERS, "%ld", (long)self.done[0][0]);
    fbp_pool_barrier(NULL);
    fbp_pool_free(NULL);
}

static void shares_cover_everything_once(void) {
    for (int64_t count = 0; count < 200; count++)
        for (int n = 1; n <= 70; n++) {
            int64_t end = 0, lo, hi;
            for (int t = 0; t < n; t++) {
                fbp_share(count, t, n, &lo, &hi);
                CHECK(lo == end && hi >= lo && hi - lo <= count / n + 1, "%ld in %d: %ld..%ld", (long)count, n,
                      (long)lo, (long)hi);
                end = hi;
            }
            CHECK(end == count, "%ld in %d ends at %ld", (long)count, n, (long)end);
        }
}

/* A worker asleep between runs, and one asleep at a barrier. Each time the caller first goes to the core where the
 * worker was, and wakes it from there. A busy machine may move threads meanwhile, so some meetings are forgiven; without
 * care it was all of them. */
#ifdef __linux__
typedef struct {
    team team;
    cpu_set_t allowed[2]; /* by thread */
    int core[2];          /* where each was at last */
} places;

static void go_to(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0, "core %d", core);
}

static void place_task(void *context, int t) {
    places *self = context;
    self->core[t] = sched_getcpu();
    fbp_pool_barrier(self->team.pool);
}

static void late_task(void *context, int t) {
    places *self = context;
    self->core[t] = sched_getcpu();
    fbp_pool_barrier(self->team.pool);
    if (t == 0) {
        usleep(2000);
        go_to(self->core[1]);
    }
    fbp_pool_barrier(self->team.pool);
    self->core[t] = sched_getcpu();
    pthread_getaffinity_np(pthread_self(), sizeof self->allowed[t], &self->allowed[t]);
    fbp_pool_barrier(self->team.pool);
}
#endif

static void the_woken_are_not_on_the_core_of_the_waker(void) {
#ifdef __linux__
    enum { TIMES = 60, FORGIVEN = 20 };
    places self = {.team = new_team(2)};
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    if (CPU_COUNT(&allowed) < 2) {
        printf("pool: one core only, cores of the woken are not checked\n");
        fbp_pool_free(self.team.pool);
        return;
    }
    int met[2] = {0};
    fbp_pool_run(self.team.pool, place_task, &self);
    for (int i = 0; i < TIMES; i++) {
        usleep(2000);
        go_to(self.core[1]);
        fbp_pool_run(self.team.pool, place_task, &self);
        met[0] += self.core[0] == self.core[1];
        sched_setaffinity(0, sizeof allowed, &allowed);
        fbp_pool_run(self.team.pool, late_task, &self);
        met[1] += self.core[0] == self.core[1];
        CHECK(CPU_COUNT(&self.allowed[0]) == 1, "time %d: the pool touched the cores of the caller", i);
        CHECK(CPU_EQUAL(&self.allowed[1], &allowed), "time %d: a worker may not go everywhere again", i);
        sched_setaffinity(0, sizeof allowed, &allowed);
    }
    CHECK(met[0] <= FORGIVEN && met[1] <= FORGIVEN, "woken between runs %d times, at a barrier %d times of %d", met[0],
          met[1], TIMES);
    fbp_pool_free(self.team.pool);
#endif
}

#if defined(__linux__) && !defined(CHECK_SANITIZED)
static int count_threads(void) {
    char line[80];
    int threads = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) sscanf(line, "Threads: %d", &threads);
    if (status) fclose(status);
    return threads;
}
#endif

/* With little address space left some thread cannot have its stack: the others must be sent home. */
static void a_team_that_cannot_be_had_is_a_status(void) {
#if defined(__linux__) && !defined(CHECK_SANITIZED)
    if (check_share() > 1) return; /* an emulator has an address space of its own */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        long pages = 0;
        FILE *statm = fopen("/proc/self/statm", "r");
        if (!statm || fscanf(statm, "%ld", &pages) != 1) _exit(0);
        fclose(statm);
        rlim_t room = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)64 * 1024 * 1024;
        setrlimit(RLIMIT_AS, &(struct rlimit){room, room});
        fbp_pool *pool = (fbp_pool *)&room;
        fbp_status status = fbp_pool_new(&pool, 4000);
        if (status != FBP_ETHREAD || pool) _exit(1);
        for (int i = 0; i < 100 && count_threads() > 1; i++) usleep(10000); /* the kernel counts them a little longer */
        _exit(count_threads() > 1 ? 2 : 0);
    }
    int how = 0;
    CHECK(child > 0 && waitpid(child, &how, 0) == child, "no child");
    CHECK(WIFEXITED(how) && WEXITSTATUS(how) == 0, "the child ended with %x", how);
#endif
}

int main(void) {
    shares_cover_everything_once();
    no_pool_is_one_thread();
    for (int n_threads = 1; n_threads <= MOST; n_threads++) {
        every_run_is_the_serial_loop(n_threads);
        nobody_passes_a_barrier_early(n_threads);
        parts_are_seen_by_all(n_threads);
    }
    teams_come_and_go();
    teams_do_not_know_each_other();
    the_woken_are_not_on_the_core_of_the_waker();
    a_team_that_cannot_be_had_is_a_status();
    return check_report("pool");
}
