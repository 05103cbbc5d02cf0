/* The arena: sizes are counted with every overflow seen, measured is carved, a reset gives back the same
 * addresses, and a block that nobody has is a status. */
#include "check.h"
#include "runtime/arena.h"

static void sizes_are_whole_cache_lines(void) {
    int overflow = 0;
    for (int64_t rows = 0; rows < 70; rows++)
        for (int64_t cols = 0; cols < 70; cols++)
            for (size_t item = 1; item <= 8; item *= 2) {
                size_t bytes = (size_t)rows * (size_t)cols * item, size = fbp_size(rows, cols, item, &overflow);
                CHECK(size % FBP_ALIGN == 0 && size >= bytes && size < bytes + FBP_ALIGN, "%ld x %ld x %zu: %zu",
                      (long)rows, (long)cols, item, size);
            }
    CHECK(!overflow, "a small size");
}

static void sizes_beyond_the_machine_are_seen(void) {
    const int64_t huge[][3] = {
        {INT64_MAX, 2, 1},
        {INT64_MAX, INT64_MAX, 8},
        {INT64_MAX, 1, 1},
        {1, INT64_MAX, 8},
        {INT64_C(1) << 32, INT64_C(1) << 32, 1},
        {INT64_C(1) << 60, 1, 8},
        {INT64_C(1) << 61, 4, 1},
        {INT64_C(1) << 61, 1, 8},
        {INT64_C(3) << 30, INT64_C(1) << 31, 8},
        {-1, 1, 1},
        {1, -1, 1},
        {-1, -1, 4},
        {INT64_MIN, INT64_MIN, 8},
        {PTRDIFF_MAX - 63, 1, 1},
    };
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        int overflow = 0;
        size_t size = fbp_size(huge[i][0], huge[i][1], (size_t)huge[i][2], &overflow);
        CHECK(overflow && size == 0, "case %zu: %zu", i, size);
    }
    int overflow = 0;
    CHECK(fbp_size(PTRDIFF_MAX - 64, 1, 1, &overflow) == (size_t)PTRDIFF_MAX - 63 && !overflow, "the largest size");
    overflow = 1;
    fbp_size(1, 1, 1, &overflow);
    CHECK(overflow, "an earlier overflow must not be forgotten");
}

static void a_sum_beyond_the_machine_is_seen(void) {
    fbp_arena arena = {0};
    fbp_arena_take(&arena, "a", -1, PTRDIFF_MAX / 2, 1, 1);
    CHECK(!arena.overflow, "half of everything");
    fbp_arena_take(&arena, "b", -1, PTRDIFF_MAX / 2 + 2, 1, 1);
    CHECK(arena.overflow, "all and more");
    fbp_arena_take(&arena, "c", -1, PTRDIFF_MAX / 2, 1, 1);
    fbp_arena_take(&arena, "d", -1, PTRDIFF_MAX / 2, 1, 1);
    CHECK(arena.overflow, "the cursor has gone round");

    fbp_arena one = {0};
    fbp_arena_take(&one, "a", -1, INT64_MAX, INT64_MAX, 8);
    CHECK(one.overflow && one.cursor == 0, "a product beyond the machine takes nothing");
}

enum { PIECES = 40 };

struct piece {
    int64_t rows, cols;
    size_t item;
};

static void carve(fbp_arena *arena, const struct piece *pieces, char **address) {
    for (int i = 0; i < PIECES; i++)
        address[i] = fbp_arena_take(arena, "piece", i % 3 ? i : -1, pieces[i].rows, pieces[i].cols, pieces[i].item);
}

static void measured_is_carved(void) {
    for (int round = 0; round < 200; round++) {
        struct piece pieces[PIECES];
        fbp_plan_row plan[PIECES], rows[PIECES];
        char *address[PIECES], *again[PIECES];
        for (int i = 0; i < PIECES; i++)
            pieces[i] = (struct piece){random_below(20), random_below(67), (size_t)1 << random_below(4)};

        fbp_arena arena = {.rows = plan, .max_rows = PIECES};
        carve(&arena, pieces, address);
        for (int i = 0; i < PIECES; i++) CHECK(!address[i], "a pointer while measuring");
        size_t size = arena.cursor;
        CHECK(arena.n_rows == PIECES && !arena.overflow, "%d rows", arena.n_rows);

        arena.rows = rows;
        arena.n_rows = 0;
        CHECK(fbp_arena_alloc(&arena, size) == FBP_OK, "%zu bytes", size);
        CHECK((uintptr_t)arena.base % FBP_ALIGN == 0 && arena.size == size && arena.cursor == 0, "the block");
        carve(&arena, pieces, address);
        CHECK(arena.cursor == size, "measured %zu, carved %zu", size, arena.cursor);
        size_t end = 0;
        for (int i = 0; i < PIECES; i++) {
            size_t bytes = (size_t)pieces[i].rows * (size_t)pieces[i].cols * pieces[i].item;
            CHECK((uintptr_t)address[i] % FBP_ALIGN == 0, "piece %d", i);
            CHECK(address[i] == arena.base + rows[i].offset && rows[i].offset == end, "piece %d", i);
            CHECK(rows[i].bytes >= bytes && rows[i].bytes < bytes + FBP_ALIGN, "piece %d", i);
            CHECK(rows[i].shape[0] == pieces[i].rows && rows[i].shape[1] == pieces[i].cols, "piece %d", i);
            CHECK(rows[i].offset == plan[i].offset && rows[i].bytes == plan[i].bytes, "piece %d", i);
            end += rows[i].bytes;
            memset(address[i], i, rows[i].bytes);
        }
        for (int i = 0; i < PIECES; i++)
            for (size_t k = 0; k < rows[i].bytes; k++)
                if (address[i][k] != (char)i) {
                    CHECK(0, "piece %d overlaps another", i);
                    break;
                }

        fbp_arena_reset(&arena, 0);
        carve(&arena, pieces, again);
        CHECK(memcmp(address, again, sizeof address) == 0, "other addresses after a reset");
        fbp_arena_free(&arena);
        CHECK(!arena.base, "a block after its end");
        fbp_arena_free(&arena);
    }
}

static void rows_have_names_and_a_limit(void) {
    fbp_plan_row rows[3];
    memset(rows, 0x55, sizeof rows);
    fbp_arena arena = {.rows = rows, .max_rows = 2};
    fbp_arena_take(&arena, "x", -1, 1, 2, 4);
    fbp_arena_take(&arena, "a name that is much longer than the field", 12, 3, 4, 4);
    fbp_arena_take(&arena, "y", 7, 1, 1, 4);
    CHECK(arena.n_rows == 2, "%d rows", arena.n_rows);
    CHECK(strcmp(rows[0].name, "x") == 0, "%.24s", rows[0].name);
    CHECK(memchr(rows[1].name, 0, sizeof rows[1].name) != NULL, "a name without an end");
    CHECK(rows[2].name[0] == 0x55, "a row too many");
    CHECK(arena.cursor == 3 * FBP_ALIGN, "%zu", arena.cursor);
    arena.n_rows = 0;
    fbp_arena_take(&arena, "z", 7, 1, 1, 4);
    CHECK(strcmp(rows[0].name, "z[7]") == 0, "%.24s", rows[0].name);
}

static void bytes_of_rows_are_taken_and_none_leave_no_trace(void) {
    fbp_plan_row rows[3];
    fbp_arena arena = {.rows = rows, .max_rows = 3};
    CHECK(!fbp_arena_take_bytes(&arena, "none", -1, 5, 0) && arena.n_rows == 0 && arena.cursor == 0, "none");
    fbp_arena_take_bytes(&arena, "x", 2, 3, 100);
    CHECK(arena.n_rows == 1 && strcmp(rows[0].name, "x[2]") == 0, "%d rows", arena.n_rows);
    CHECK(rows[0].shape[0] == 3 && rows[0].shape[1] == 100 && rows[0].bytes == 320, "%zu", rows[0].bytes);
    CHECK(!arena.overflow, "320 bytes");
    fbp_arena_take_bytes(&arena, "y", -1, 2, (size_t)PTRDIFF_MAX);
    CHECK(arena.overflow, "twice everything");
    CHECK(fbp_arena_alloc(&arena, 320) == FBP_OK, "320 bytes");
    arena.rows = NULL;
    CHECK(fbp_arena_take_bytes(&arena, "none", -1, 5, 0) == NULL && arena.cursor == 0, "none of a block");
    CHECK(fbp_arena_take_bytes(&arena, "x", -1, 3, 100) == arena.base && arena.cursor == 320, "%zu", arena.cursor);
    fbp_arena_free(&arena);
}

static void a_reset_keeps_what_lies_before_the_mark(void) {
    fbp_arena arena = {0};
    CHECK(fbp_arena_alloc(&arena, 4096) == FBP_OK, "4096 bytes");
    char *kept = fbp_arena_take(&arena, "kept", -1, 100, 1, 1);
    memset(kept, 7, 100);
    size_t mark = fbp_arena_mark(&arena);
    CHECK(mark == 128, "%zu", mark);
    float *first = fbp_arena_take(&arena, "step", -1, 100, 3, sizeof(float));
    for (int i = 0; i < 300; i++) first[i] = 1;
    for (int step = 0; step < 1000; step++) {
        fbp_arena_reset(&arena, mark);
        CHECK(fbp_arena_mark(&arena) == mark, "step %d", step);
        float *again = fbp_arena_take(&arena, "step", -1, 100, 3, sizeof(float));
        CHECK(again == first, "step %d moved", step);
#ifdef FBP_DEBUG
        CHECK(isnan(again[0]) && isnan(again[299]), "step %d sees the one before", step);
#endif
        again[0] = again[299] = 1;
    }
    for (int i = 0; i < 100; i++) CHECK(kept[i] == 7, "byte %d", i);
    fbp_arena_free(&arena);
}

static void memory_that_nobody_has_is_a_status(void) {
    fbp_arena arena = {0};
    CHECK(fbp_arena_alloc(&arena, (size_t)PTRDIFF_MAX - 4096) == FBP_ENOMEM, "half of the address space");
    CHECK(!arena.base, "a block");
    fbp_arena_free(&arena);
    CHECK(fbp_arena_alloc(&arena, 0) == FBP_OK && arena.base, "nothing can be had");
    fbp_arena_free(&arena);
}

int main(void) {
    sizes_are_whole_cache_lines();
    sizes_beyond_the_machine_are_seen();
    a_sum_beyond_the_machine_is_seen();
    measured_is_carved();
    rows_have_names_and_a_limit();
    bytes_of_rows_are_taken_and_none_leave_no_trace();
    a_reset_keeps_what_lies_before_the_mark();
    memory_that_nobody_has_is_a_status();
    return check_report("arena");
}
