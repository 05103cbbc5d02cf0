#ifndef _WIN32
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "runtime/os.h"

#ifdef CLOCK_MONOTONIC_COARSE
#define CLOCK CLOCK_MONOTONIC_COARSE
#else
#define CLOCK CLOCK_MONOTONIC
#endif

double fbp_os_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- memory -------------------------------------------------------------------------------------- */

/* Wide layers touch a page per row: huge pages keep them within reach of the TLB. Only whole ones inside the
 * block, so nothing beyond it becomes resident. */
static void ask_for_huge_pages(char *block, size_t size) {
#ifdef MADV_HUGEPAGE
    const uintptr_t huge = (uintptr_t)2 << 20;
    uintptr_t start = ((uintptr_t)block + huge - 1) & ~(huge - 1), end = ((uintptr_t)block + size) & ~(huge - 1);
    if (start < end) madvise((void *)start, end - start, MADV_HUGEPAGE);
#else
    (void)block, (void)size;
#endif
}

void *fbp_os_alloc(size_t alignment, size_t bytes) {
    void *block = NULL;
    if (posix_memalign(&block, alignment, bytes ? bytes : 1)) return NULL;
    ask_for_huge_pages(block, bytes);
    return block;
}

void fbp_os_free(void *block) { free(block); }

/* ---- threads and cores --------------------------------------------------------------------------- */

int fbp_os_start(pthread_t *threads, int count, void *(*work)(void *), void *context) {
    sigset_t all, before;
    int started = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < count && !pthread_create(&threads[started], NULL, work, context)) started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

#ifdef __linux__
int fbp_os_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

fbp_whereabouts fbp_os_this_thread(void) { return (fbp_whereabouts){.thread = pthread_self()}; }

int fbp_os_this_core(void) { return sched_getcpu(); }

void fbp_os_keep_off(fbp_whereabouts *t, int core) {
    cpu_set_t allowed, others;
    if (t->kept_off || core < 0 || core >= CPU_SETSIZE || pthread_getaffinity_np(t->thread, sizeof allowed, &allowed) ||
        !CPU_ISSET(core, &allowed))
        return;
    others = allowed;
    CPU_CLR(core, &others);
    _Static_assert(sizeof allowed == sizeof t->allowed, "a cpu_set_t has other bits");
    memcpy(t->allowed, &allowed, sizeof allowed);
    t->kept_off = CPU_COUNT(&others) && !pthread_setaffinity_np(t->thread, sizeof others, &others);
}

void fbp_os_may_go_anywhere(const fbp_whereabouts *t) {
    if (t->kept_off) pthread_setaffinity_np(t->thread, sizeof t->allowed, (const cpu_set_t *)t->allowed);
}
#else
int fbp_os_cores(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }
fbp_whereabouts fbp_os_this_thread(void) { return (fbp_whereabouts){0}; }
int fbp_os_this_core(void) { return -1; }
void fbp_os_keep_off(fbp_whereabouts *thread, int core) { (void)thread, (void)core; }
void fbp_os_may_go_anywhere(const fbp_whereabouts *thread) { (void)thread; }
#endif
#endif
