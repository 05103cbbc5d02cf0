/* Windows, by a compiler in the manner of GNU. It has no fork, no signals that a thread could be given, and huge pages
 * for administrators only. */
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <malloc.h>
#include <windows.h>

#include "runtime/os.h"

double fbp_os_seconds(void) { return 1e-3 * (double)GetTickCount64(); }

void *fbp_os_alloc(size_t alignment, size_t bytes) { return _aligned_malloc(bytes ? bytes : 1, alignment); }

void fbp_os_free(void *block) { _aligned_free(block); }

int fbp_os_start(pthread_t *threads, int count, void *(*work)(void *), void *context) {
    int started = 0;
    while (started < count && !pthread_create(&threads[started], NULL, work, context)) started++;
    return started;
}

/* A process of several groups of processors, beyond 64 of them, has no mask. */
int fbp_os_cores(void) {
    DWORD_PTR ours = 0, all = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &ours, &all) && ours) return __builtin_popcountll(ours);
    return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
}

fbp_whereabouts fbp_os_this_thread(void) { return (fbp_whereabouts){0}; }
int fbp_os_this_core(void) { return -1; }
void fbp_os_keep_off(fbp_whereabouts *thread, int core) { (void)thread, (void)core; }
void fbp_os_may_go_anywhere(const fbp_whereabouts *thread) { (void)thread; }
#endif
