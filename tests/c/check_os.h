/* What the tests ask of the operating system: pages that nobody may touch, and variables of the environment. */
#ifndef CHECK_OS_H
#define CHECK_OS_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#undef near /* nothing there, but names of the tests */
#undef IN
#undef OUT

static inline size_t page_size(void) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

static inline char *new_pages(size_t bytes, size_t around) {
    DWORD before;
    char *block = VirtualAlloc(NULL, bytes + 2 * around, MEM_RESERVE | MEM_COMMIT, PAGE_NOACCESS);
    return block && VirtualProtect(block + around, bytes, PAGE_READWRITE, &before) ? block + around : NULL;
}

static inline void free_pages(char *pages, size_t bytes, size_t around) {
    (void)bytes;
    VirtualFree(pages - around, 0, MEM_RELEASE);
}

static inline int setenv(const char *name, const char *value, int overwrite) {
    return overwrite || !getenv(name) ? _putenv_s(name, value) : 0;
}
static inline int unsetenv(const char *name) { return _putenv_s(name, ""); }

#else
#include <sys/mman.h>

static inline size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* Pages between two that are forbidden, `around` bytes of each; NULL: there is no memory. */
static inline char *new_pages(size_t bytes, size_t around) {
    char *block = mmap(NULL, bytes + 2 * around, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED || mprotect(block + around, bytes, PROT_READ | PROT_WRITE)) return NULL;
    return block + around;
}

static inline void free_pages(char *pages, size_t bytes, size_t around) { munmap(pages - around, bytes + 2 * around); }
#endif

#endif
