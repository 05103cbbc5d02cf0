/* Edge columns: the last columns of a layer's output, if they would leave most of a vector empty. They are done four at
 * a time, with the vectors along the other dimension: dot products along k forward, and along the rows of W in the
 * weight gradient. Included by kernels/template.h.
 *   edge  (groups of 4 columns, rows / NR, 4, NR): columns of a matrix cut to the length of a panel's row, padded with
 *         zeros */

#if VBYTES / (4 + 4 * !FBP_IS_F32) >= 8 /* shorter vectors are filled by few columns */
#define MOST_EDGE (LANES / 2)           /* with more columns a vector is full enough */
#define AV (AW / LANES)
#define ER FBP_SIZE(ER)

/* edge = columns 0..count of rows r0..r1 of M, its rows ld apart and `rows` in all; r1 == rows: and its padding */
static void FN(pack_edge)(void *edge, const void *m_, int64_t ld, int64_t rows, int count, int64_t r0, int64_t r1) {
    const REAL *m = m_;
    int64_t whole = (rows + NR - 1) / NR * NR;
    for (int first = 0; first < count; first += 4)
        for (int64_t r = r0; r < (r1 == rows ? whole : r1); r++) {
            REAL *to = (REAL *)edge + first * whole + r / NR * 4 * NR + r % NR;
            for (int q = 0; q < 4; q++) to[q * NR] = first + q < count && r < rows ? m[r * ld + first + q] : 0;
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

/* c(m,cols) = a b + bias or c, up to four columns: a along rows, b one group of an edge */
static inline __attribute__((always_inline)) void FN(dots)(const int m, int cols, int64_t k, const REAL *a,
                                                           const REAL *b, REAL *c, int64_t ldc,
                                                           const REAL *bias, int accumulate) {
    FN(vec) acc[ER][4] = {{{0}}};
    for (int64_t start = 0; start < k; start += NR, a += NR, b += 4 * NR)
        EACH(v, 2) {
            FN(vec) column[4];
            EACH(q, 4) column[q] = AT((REAL *)b, q * NR + v * LANES);
            EACH(r, m) EACH(q, 4) acc[r][q] += AT((REAL *)a, r * FBP_KC + v * LANES) * column[q];
        }
    EACH(r, m) {
        FN(four) sums = FN(four_sums)(acc[r]);
        REAL *row = c + r * ldc;
        for (int q = 0; q < cols; q++) row[q] = (accumulate ? row[q] : bias[q]) + sums[q];
    }
}

/* c(m,cols) = a b + bias or c: a along rows; b an edge, its groups `group` apart */
static void FN(edge_rows)(int m, int cols, int64_t k, const void *a_, const void *b_, int64_t group, void *c_,
                             int64_t ldc, const void *bias_, int accumulate) {
    for (int first = 0; first < cols; first += 4) {
        const REAL *a = a_, *b = (const REAL *)b_ + first / 4 * group, *bias = (const REAL *)bias_ + first;
        REAL *c = (REAL *)c_ + first;
        int wide = cols - first < 4 ? cols - first : 4;
        for (int r = 0; r < m; r += ER, a += ER * FBP_KC, c += ER * ldc)
#define DOTS(R)                                                                               \
    case R: FN(dots)(R < ER ? R : ER, wide, k, a, b, c, ldc, bias, accumulate); break;
            switch (m - r < ER ? m - r : ER) { EACH_M6(DOTS) }
#undef DOTS
    }
}

/* c(m,cols) = a^T b, or + c: a along columns, b columns of a panel */
static void FN(edge_columns)(int m, int cols, int64_t k, const void *a_, const void *b_, void *c_,
                          int64_t ldc, int accumulate) {
    for (int first = 0; first < cols; first += 4) {
        const REAL *a = a_, *b = (const REAL *)b_ + first;
        FN(vec) acc[2][4][AV] = {{{{0}}}};
        int64_t i = 0;
#define ADD_ROW(s, i)                            \
    EACH(v, AV) EACH(q, 4) acc[s][q][v] +=       \
        AT((REAL *)a, (i) * AW + v * LANES) * b[(i) * NR + q];
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
#undef ER
#endif
#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
