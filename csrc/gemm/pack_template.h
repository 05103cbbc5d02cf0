/* Packing a matrix into panels. Included by kernels/template.h. */

/* panels(cols / NR, rows in all, NR), rows r0..r1 = M(r0..r1,cols; rows ld apart); the last panel is padded with
 * zeros. A few rows at a time: columns of all rows would read lines a power of two apart, whole rows would write
 * them. */
static void FN(pack)(void *panels, const void *m_, int64_t ld, int64_t rows, int cols, int64_t r0, int64_t r1) {
    for (int64_t first = r0; first < r1; first += FBP_PACK_ROWS) {
        int64_t end = first + FBP_PACK_ROWS < r1 ? first + FBP_PACK_ROWS : r1;
        REAL *to = panels;
        for (int j = 0; j < cols; j += NR, to += rows * NR)
            for (int64_t r = first; r < end; r++)
                EACH(v, 2)
                    AT(to, r * NR + v * LANES) =
                        FN(get)((const REAL *)m_ + r * ld + j + v * LANES, cols - j - v * LANES);
    }
}

#if VBYTES == 64 && defined(FBP_IS_F32)
#define INTERLEAVE_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVE_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VBYTES / (4 + 4 * !FBP_IS_F32) == 8
#define INTERLEAVE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif VBYTES / (4 + 4 * !FBP_IS_F32) == 4
#define INTERLEAVE_LOW 0, 4, 1, 5
#define INTERLEAVE_HIGH 2, 6, 3, 7
#else
#define INTERLEAVE_LOW 0, 2
#define INTERLEAVE_HIGH 1, 3
#endif

/* b(cols,LANES; rows ldb apart) = a^T of a(rows,cols; rows lda apart), padded with zeros; at most LANES of each:
 * log2(LANES) rounds of interleaving halves */
static inline __attribute__((always_inline)) void FN(transpose_block)(REAL *b, int64_t ldb, const REAL *a, int64_t lda,
                                                                      int rows, int cols) {
    FN(vec) x[LANES], y[LANES], zero = {0};
    FBP_UNROLL for (int i = 0; i < LANES; i++) x[i] = i < rows ? FN(load_part)(a + i * lda, cols) : zero;
    FBP_UNROLL for (int round = 1; round < LANES; round *= 2) {
        FBP_UNROLL for (int i = 0; i < LANES / 2; i++) {
            y[2 * i] = FBP_SHUFFLE(x[i], x[i + LANES / 2], INTERLEAVE_LOW);
            y[2 * i + 1] = FBP_SHUFFLE(x[i], x[i + LANES / 2], INTERLEAVE_HIGH);
        }
        FBP_UNROLL for (int i = 0; i < LANES; i++) x[i] = y[i];
    }
    FBP_UNROLL for (int i = 0; i < LANES; i++)
        if (i < cols)
            AT(b, i * ldb) = x[i];
}

/* panels(rows / NR, cols, NR) of M^T, its columns r0..r1 = M(r0..r1,cols; rows ld apart)^T. r0 is a multiple of
 * LANES. */
static void FN(pack_transposed)(void *panels, const void *m_, int64_t ld, int cols, int r0, int r1) {
    for (int r = r0; r < r1; r += LANES) {
        const REAL *m = (const REAL *)m_ + r * ld;
        REAL *to = (REAL *)panels + (int64_t)(r / NR) * cols * NR + r % NR;
        int j = 0, rows = r1 - r < LANES ? r1 - r : LANES;
        if (rows == LANES)
            for (; j + LANES <= cols; j += LANES)
                FN(transpose_block)(to + (int64_t)j * NR, NR, m + j, ld, LANES, LANES);
        for (; j < cols; j += LANES)
            FN(transpose_block)(to + (int64_t)j * NR, NR, m + j, ld, rows, cols - j < LANES ? cols - j : LANES);
    }
}
