/* os: all that differs between operating systems, for os_posix.c and os_windows.c to do. Threads and mutexes are
 * those of POSIX everywhere: MinGW-w64 brings them to Windows (winpthreads), whatever threads its GCC was built for. */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* Of a clock that only goes forward: exact to some ms (Windows: 16), and read in as many ns. */
double fbp_os_seconds(void);

/* ---- memory -------------------------------------------------------------------------------------- */

/* At least a byte, at a multiple of `alignment`, on huge pages where the system has such; NULL: there is none. */
void *fbp_os_alloc(size_t alignment, size_t bytes);
void fbp_os_free(void *block); /* of fbp_os_alloc, or NULL */

/* ---- threads and cores --------------------------------------------------------------------------- */

/* Starts threads that run work(context) until one cannot be had; returns how many there are. No signal is given to
 * them: a program that waits for one with its own threads blocked must not find that the kernel gave it to a thread it
 * knows nothing of. */
int fbp_os_start(pthread_t *threads, int count, void *(*work)(void *), void *context);

int fbp_os_cores(void); /* that this process may use */

/* Where a thread may run. Only on Linux are threads kept off cores; elsewhere nothing is done. */
typedef struct {
    pthread_t thread;
    int kept_off;
    uint64_t allowed[16]; /* bits: its cores before it was kept off one */
} fbp_whereabouts;

fbp_whereabouts fbp_os_this_thread(void);
int fbp_os_this_core(void);                                 /* -1: not known */
void fbp_os_keep_off(fbp_whereabouts *thread, int core);    /* once; then it may go anywhere again first */
void fbp_os_may_go_anywhere(const fbp_whereabouts *thread); /* as before fbp_os_keep_off */
