/* The last columns of a layer's output, if they would leave most of a vector empty: done four at a time with
 * the vectors along the other dimension. Included by kernels_template.h after packed_template.h.
 *   tail  (groups of 4 columns, rows / NR, 4, NR): columns of a matrix cut to the length of a panel's row, padded
 *         with zeros */

#if VBYTES / (4 + 4 * !FBP_IS_F32) >= 8 /* shorter vectors are filled by few columns */
#define MOST_TAIL (LANES / 2)           /* with more columns a vector is full enough */
#define AV (AW / LANES)       /* vectors of a strip's row */
#if VBYTES == 64
#define DOT_ROWS 6 /* 24 sums in 32 registers */
#define FOR_DOT_ROWS(X) FOR_ROWS_6(X)
#else
#define DOT_ROWS 2 /* 8 of 16 */
#define FOR_DOT_ROWS(X) X(1) X(2)
#endif

/* tail = columns 0..count of rows r0..r1 of M, its rows ld apart and `rows` in all; r1 == rows: and its padding */
static void FN(pack_tail)(void *tail, const void *m_, int64_t ld, int64_t rows, int count, int64_t r0,
                          int64_t r1) {
    const REAL *m = m_;
    int64_t whole = (rows + NR - 1) / NR * NR;
    for (int first = 0; first < count; first += 4)
        for (int64_t r = r0; r < (r1 == rows ? whole : r1); r++) {
            REAL *to = (REAL *)tail + first * whole + r / NR * 4 * NR + r % NR;
            for (int q = 0; q < 4; q++)
                to[q * NR] = first + q < count && r < rows ? m[r * ld + first + q] : 0;
        }
}

typedef REAL FN(four) __attribute__((vector_size(4 * sizeof(REAL))));

/* the sums of the numbers of each of four vectors */
static inline __attribute__((always_inline)) FN(four) FN(four_sums)(const FN(vec) *x) {
    FN(vec) even = FBP_SHUFFLE(x[0], x[2], INTERLEAVE_LOW) + FBP_SHUFFLE(x[0], x[2], INTERLEAVE_HIGH);
    FN(vec) odd = FBP_SHUFFLE(x[1], x[3], INTERLEAVE_LOW) + FBP_SHUFFLE(x[1], x[3], INTERLEAVE_HIGH);
    FN(vec) sums = FBP_SHUFFLE(even, odd, INTERLEAVE_LOW) + FBP_SHUFFLE(even, odd, INTERLEAVE_HIGH);
    FN(four) part[LANES / 4];
    memcpy(part, &sums, sizeof sums);
    FBP_UNROLL for (int i = 1; i < LANES / 4; i++) part[0] += part[i];
    return part[0];
}

/* c(m,cols) = a b + bias or c, up to four columns: a in rows lda apart, b one group of a tail */
static inline __attribute__((always_inline)) void FN(dots)(const int m, int cols, int64_t k, const REAL *a,
                                                           int64_t lda, const REAL *b, REAL *c, int64_t ldc,
                                                           const REAL *bias, int accumulate) {
    FN(vec) acc[DOT_ROWS][4] = {{{0}}};
    for (int64_t start = 0; start < k; start += NR, a += NR, b += 4 * NR)
        EACH(v, 2) {
            FN(vec) column[4];
            EACH(q, 4) column[q] = AT((REAL *)b, q * NR + v * LANES);
            EACH(r, m) EACH(q, 4) acc[r][q] += AT((REAL *)a, r * lda + v * LANES) * column[q];
        }
    EACH(r, m) {
        FN(four) sums = FN(four_sums)(acc[r]);
        REAL *row = c + r * ldc;
        for (int q = 0; q < cols; q++) row[q] = (accumulate ? row[q] : bias[q]) + sums[q];
    }
}

/* c(m,cols) = a b + bias or c: a in rows of k; b a tail, its groups `group` apart */
static void FN(tail_forward)(int m, int cols, int64_t k, const void *a_, const void *b_, int64_t group, void *c_,
                             int64_t ldc, const void *bias_, int accumulate) {
    for (int first = 0; first < cols; first += 4) {
        const REAL *a = a_, *b = (const REAL *)b_ + first / 4 * group, *bias = (const REAL *)bias_ + first;
        REAL *c = (REAL *)c_ + first;
        int wide = cols - first < 4 ? cols - first : 4;
        for (int r = 0; r < m; r += DOT_ROWS, a += DOT_ROWS * ROW(k), c += DOT_ROWS * ldc)
#define DOTS(R)                                                                  \
    case R: FN(dots)(R, wide, k, a, ROW(k), b, c, ldc, bias, accumulate); break;
            switch (m - r < DOT_ROWS ? m - r : DOT_ROWS) { FOR_DOT_ROWS(DOTS) }
#undef DOTS
    }
}

/* c(m,cols) = a^T b, or + c: a a strip, b columns of a panel */
static void FN(tail_grad)(int m, int cols, int64_t k, const void *a_, int64_t lda, const void *b_, void *c_,
                          int64_t ldc, int accumulate) {
    for (int first = 0; first < cols; first += 4) {
        const REAL *a = a_, *b = (const REAL *)b_ + first;
        FN(vec) acc[2][4][AV] = {{{{0}}}};
        int64_t i = 0;
#define ADD_ROW(s, i)                            \
    EACH(v, AV) EACH(q, 4) acc[s][q][v] +=       \
        AT((REAL *)a, (i) * lda + v * LANES) * b[(i) * NR + q];
        for (; i + 2 <= k; i += 2) {
            ADD_ROW(0, i)
            ADD_ROW(1, i + 1)
        }
        if (i < k) {
            ADD_ROW(0, i)
        }
#undef ADD_ROW
        REAL sums[4][AW] __attribute__((aligned(64)));
        EACH(v, AV) EACH(q, 4) AT(sums[q], v * LANES) = acc[0][q][v] + acc[1][q][v];
        for (int r = 0; r < m; r++) {
            REAL *row = (REAL *)c_ + r * ldc + first;
            for (int q = 0; q < 4 && first + q < cols; q++) row[q] = accumulate ? row[q] + sums[q][r] : sums[q][r];
        }
    }
}
#undef AV
#undef DOT_ROWS
#undef FOR_DOT_ROWS
#endif
