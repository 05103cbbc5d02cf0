#include <stdio.h>
#include <string.h>

#include "runtime/arena.h"
#include "runtime/os.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#endif

size_t fbp_size(int64_t rows, int64_t cols, size_t item, int *overflow) {
    size_t count, bytes;
    if (rows < 0 || cols < 0 || __builtin_mul_overflow((size_t)rows, (size_t)cols, &count) ||
        __builtin_mul_overflow(count, item, &bytes) || bytes > (size_t)PTRDIFF_MAX - FBP_ALIGN) {
        *overflow = 1;
        return 0;
    }
    return (bytes + FBP_ALIGN - 1) / FBP_ALIGN * FBP_ALIGN;
}

void *fbp_arena_take(fbp_arena *arena, const char *name, int l, int64_t rows, int64_t cols, size_t item) {
    size_t bytes = fbp_size(rows, cols, item, &arena->overflow);
    size_t offset = arena->cursor;
    if (__builtin_add_overflow(offset, bytes, &arena->cursor) || arena->cursor > (size_t)PTRDIFF_MAX)
        arena->overflow = 1;
    if (arena->rows && arena->n_rows < arena->max_rows) {
        fbp_plan_row *row = &arena->rows[arena->n_rows++];
        if (l < 0)
            snprintf(row->name, sizeof row->name, "%s", name);
        else
            snprintf(row->name, sizeof row->name, "%s[%d]", name, l);
        row->shape[0] = rows;
        row->shape[1] = cols;
        row->offset = offset;
        row->bytes = bytes;
    }
    if (!arena->base) return NULL;
    UNPOISON(arena->base + offset, bytes);
    return arena->base + offset;
}

void *fbp_arena_take_bytes(fbp_arena *arena, const char *name, int l, int64_t rows, size_t bytes) {
    return bytes ? fbp_arena_take(arena, name, l, rows, (int64_t)bytes, 1) : NULL;
}

fbp_status fbp_arena_alloc(fbp_arena *arena, size_t size) {
    char *block = fbp_os_alloc(FBP_ALIGN, size);
    if (!block) return FBP_ENOMEM;
    arena->base = block;
    arena->size = size;
    fbp_arena_reset(arena, 0);
    return FBP_OK;
}

void fbp_arena_free(fbp_arena *arena) {
    if (arena->base) UNPOISON(arena->base, arena->size);
    fbp_os_free(arena->base);
    arena->base = NULL;
}

size_t fbp_arena_mark(const fbp_arena *arena) { return arena->cursor; }

void fbp_arena_reset(fbp_arena *arena, size_t mark) {
    arena->cursor = mark;
#ifdef FBP_DEBUG
    UNPOISON(arena->base + mark, arena->size - mark);
    memset(arena->base + mark, 0xff, arena->size - mark); /* all ones is a NaN in both dtypes */
    POISON(arena->base + mark, arena->size - mark);
#endif
}
