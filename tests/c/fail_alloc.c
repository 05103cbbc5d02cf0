/* Preloaded into a process (LD_PRELOAD), makes one call fail that asks for memory or for a thread: the k-th since
 * fail_alloc_start(k). Calls of fastbp's core count, and those of NumPy for 1024 bytes and more; Python itself and all
 * other libraries are let off. For glibc, whose own functions it calls. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

typedef struct {
    const char *name; /* part of the path of a library */
    size_t least;     /* bytes that count */
    uintptr_t low, high;
} library;

static library libraries[] = {{"fastbp/_core.", 0, 0, 0}, {"_multiarray_umath", 1024, 0, 0}};
enum { N_LIBRARIES = sizeof libraries / sizeof *libraries };

static atomic_long left; /* calls until the one that fails; 0: none will */
static atomic_long failed;

static int find(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size, (void)context;
    for (int i = 0; i < N_LIBRARIES; i++) {
        if (!info->dlpi_name || !strstr(info->dlpi_name, libraries[i].name)) continue;
        for (int p = 0; p < info->dlpi_phnum; p++) {
            if (info->dlpi_phdr[p].p_type != PT_LOAD || !(info->dlpi_phdr[p].p_flags & PF_X)) continue;
            libraries[i].low = info->dlpi_addr + info->dlpi_phdr[p].p_vaddr;
            libraries[i].high = libraries[i].low + info->dlpi_phdr[p].p_memsz;
        }
    }
    return 0;
}

/* Returns whether both libraries were found. */
int fail_alloc_start(long k) {
    dl_iterate_phdr(find, NULL);
    atomic_store(&failed, 0);
    atomic_store(&left, k);
    for (int i = 0; i < N_LIBRARIES; i++)
        if (!libraries[i].high) return 0;
    return 1;
}

/* Returns whether a call has failed. */
int fail_alloc_stop(void) {
    atomic_store(&left, 0);
    return atomic_load(&failed) != 0;
}

static int fails(void *caller, size_t bytes) {
    if (atomic_load_explicit(&left, memory_order_relaxed) <= 0) return 0;
    for (int i = 0; i < N_LIBRARIES; i++)
        if ((uintptr_t)caller >= libraries[i].low && (uintptr_t)caller < libraries[i].high)
            if (bytes >= libraries[i].least && atomic_fetch_sub(&left, 1) == 1) {
                atomic_store(&failed, 1);
                errno = ENOMEM;
                return 1;
            }
    return 0;
}
#define FAILS(bytes) fails(__builtin_return_address(0), bytes)

void *malloc(size_t size) { return FAILS(size) ? NULL : __libc_malloc(size); }

void *calloc(size_t items, size_t size) { return FAILS(items * size) ? NULL : __libc_calloc(items, size); }

void *realloc(void *old, size_t size) { return FAILS(size) ? NULL : __libc_realloc(old, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    void *found = FAILS(size) ? NULL : __libc_memalign(alignment, size);
    if (!found) return ENOMEM;
    *block = found;
    return 0;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return FAILS(SIZE_MAX) ? EAGAIN : real(thread, attributes, start, argument);
}
