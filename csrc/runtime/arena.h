/* arena: one block and one cursor. Run on an arena without a block, the calls that carve it count bytes instead, so
 * measuring and carving are one function and a plan is exact by construction. */
#pragma once

#include "fastbp.h"

#define FBP_ALIGN 64u /* bytes: one cache line, one AVX-512 vector */

typedef struct {
    char *base;         /* NULL while measuring */
    size_t size;        /* bytes of the block */
    size_t cursor;      /* bytes handed out */
    int overflow;       /* some size did not fit in size_t */
    fbp_plan_row *rows; /* where to note what is carved, or NULL */
    int n_rows, max_rows;
} fbp_arena;

/* rows * cols * item, rounded up to FBP_ALIGN; sets *overflow and gives 0 when it does not fit. */
size_t fbp_size(int64_t rows, int64_t cols, size_t item, int *overflow);
/* The next rows*cols items of the arena, aligned; NULL while measuring. l: a layer for the name, or -1. */
void *fbp_arena_take(fbp_arena *arena, const char *name, int l, int64_t rows, int64_t cols, size_t item);
/* The same of so many bytes for each of `rows`; NULL, and no row of the plan, for none. */
void *fbp_arena_take_bytes(fbp_arena *arena, const char *name, int l, int64_t rows, size_t bytes);
fbp_status fbp_arena_alloc(fbp_arena *arena, size_t size);
void fbp_arena_free(fbp_arena *arena);
/* In debug builds (FBP_DEBUG) fills what lies after `mark` with NaN and poisons it under ASan. */
size_t fbp_arena_mark(const fbp_arena *arena);
void fbp_arena_reset(fbp_arena *arena, size_t mark);

static inline int64_t fbp_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fbp_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t fbp_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline size_t fbp_item(fbp_dtype dtype) { /* bytes of a number */
    return dtype == FBP_F64 ? 8 : dtype == FBP_U8 ? 1 : 4;
}
/* Item `index` of an array of such numbers. */
static inline void *fbp_at(const void *base, int64_t index, fbp_dtype dtype) {
    return (char *)base + index * (int64_t)fbp_item(dtype);
}
