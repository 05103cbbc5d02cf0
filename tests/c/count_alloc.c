/* Preloaded into a process (LD_PRELOAD), counts the calls of any of its threads that could get memory, between
 * count_alloc_start and count_alloc_stop. For glibc, whose own functions it calls; `free` stays glibc's.
 * A BLAS library is let off: OpenBLAS gets memory in each small product on some processors. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_int counting;
static atomic_long calls;

static int in_blas(void *code) {
    Dl_info info;
    if (!dladdr(code, &info) || !info.dli_fname) return 0;
    const char *slash = strrchr(info.dli_fname, '/'), *file = slash ? slash + 1 : info.dli_fname;
    return strncmp(file, "lib", 3) == 0 && (strstr(file, "blas") || strstr(file, "mkl"));
}

static void count(void *caller) {
    if (atomic_load_explicit(&counting, memory_order_relaxed) && !in_blas(caller)) atomic_fetch_add(&calls, 1);
}
#define COUNT() count(__builtin_return_address(0))

void count_alloc_start(void) {
    atomic_store(&calls, 0);
    atomic_store(&counting, 1);
}

long count_alloc_stop(void) {
    atomic_store(&counting, 0);
    return atomic_load(&calls);
}

void *malloc(size_t size) {
    COUNT();
    return __libc_malloc(size);
}

void *calloc(size_t items, size_t size) {
    COUNT();
    return __libc_calloc(items, size);
}

void *realloc(void *old, size_t size) {
    COUNT();
    return __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t items, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(items, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    COUNT();
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t size) {
    COUNT();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    COUNT();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) || (alignment & (alignment - 1)) || !alignment) return EINVAL;
    COUNT();
    void *found = __libc_memalign(alignment, size);
    if (!found) return ENOMEM;
    *block = found;
    return 0;
}

void *valloc(size_t size) {
    COUNT();
    return __libc_memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

void *mmap(void *where, size_t size, int protection, int flags, int file, off_t offset) {
    COUNT();
    return (void *)(intptr_t)syscall(SYS_mmap, where, size, protection, flags, file, offset);
}

void *mmap64(void *where, size_t size, int protection, int flags, int file, off64_t offset) {
    COUNT();
    return (void *)(intptr_t)syscall(SYS_mmap, where, size, protection, flags, file, offset);
}
