/* The register-blocked products behind dense_packed.c, once per dtype and instruction set. Portable vector
 * code: a tile of MR rows by NR = 2 vectors of columns is kept in registers while k runs.
 *   panels  (p, rows, NR): NR columns of a matrix side by side, the next panel `jump` numbers further on
 *   strip   (k, AW): columns of a matrix, at least MR of them, for the product that sums over rows
 * B is always one panel, its rows NR apart. Every element of C sums over k in ascending order, whatever the
 * tile, so the bits do not depend on how rows are cut. */

#if VBYTES == 64
#define MR 14 /* 28 sums, 2 columns vectors and a broadcast in 32 registers */
#define AW 16
#else
#define MR 6 /* 12 + 2 + 1 of 16 registers */
#define AW 8
#endif
#define NR (2 * LANES)

#if defined(__clang__) || __GNUC__ >= 12
#define FBP_SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
typedef FN(bits) FN(mask) __attribute__((vector_size(VBYTES)));
#define FBP_SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (FN(mask)){__VA_ARGS__})
#endif

/* c(m,nv vectors) (+)= a b over k; row r of a lies rs apart, column k ks apart; in blocks of `block` columns,
 * the next block `jump` further on. m, nv, rs are constants at each call. */
static inline
    __attribute__((always_inline)) void FN(tile)(const int m, const int nv, int64_t k, const REAL *a,
                                                 const int rs, int64_t ks, int64_t block, int64_t jump,
                                                 const REAL *b, REAL *c, int64_t ldc, const REAL *bias,
                                                 int accumulate) {
    FN(vec) acc[MR][2];
    FBP_UNROLL for (int r = 0; r < m; r++) FBP_UNROLL for (int v = 0; v < nv; v++) {
        FN(vec) zero = {0};
        acc[r][v] = accumulate ? *(const FN(loose) *)(c + r * ldc + v * LANES)
                    : bias     ? *(const FN(loose) *)(bias + v * LANES)
                               : zero;
    }
    for (int64_t start = 0; start < k; start += block) {
        int64_t count = k - start < block ? k - start : block;
        const REAL *x = a;
        for (int64_t i = 0; i < count; i++) {
            FN(vec) column[2];
            FBP_UNROLL for (int v = 0; v < nv; v++) column[v] = *(const FN(vec) *)(b + v * LANES);
            FBP_UNROLL for (int r = 0; r < m; r++) FBP_UNROLL for (int v = 0; v < nv; v++) acc[r][v] +=
                x[r * rs] * column[v];
            x += ks;
            FBP_UNROLL for (int v = 0; v < nv; v++) __builtin_prefetch(b + FBP_PANEL_AHEAD * NR + v * LANES);
            b += NR;
        }
        a += jump;
    }
    FBP_UNROLL for (int r = 0; r < m; r++) FBP_UNROLL for (int v = 0; v < nv; v++) *(FN(loose) *)(c + r * ldc +
                                                                                                v * LANES) =
        acc[r][v];
}

#define FOR_ROWS_6(X) X(1) X(2) X(3) X(4) X(5) X(6)
#if VBYTES == 64
#define FOR_ROWS(X) FOR_ROWS_6(X) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#else
#define FOR_ROWS(X) FOR_ROWS_6(X)
#endif

/* Any m <= MR and cols <= NR. A partial panel is computed in a whole one on the stack; its copies run over
 * whole vectors with a condition, which compilers turn into masks. */
#define TILE(name)                                                                                      \
    static void FN(name)(int m, int cols, int64_t k, const void *a_, int64_t step, const void *b_, void *c_, \
                         int64_t ldc, const void *bias_, int accumulate) {                              \
        const REAL *a = a_, *b = b_, *bias = bias_;                                                     \
        REAL *c = c_, *to = c, whole[MR * NR] __attribute__((aligned(64)));                             \
        REAL padded[NR] __attribute__((aligned(64)));                                                   \
        int64_t ld = ldc;                                                                               \
        const int nv = cols <= LANES ? 1 : 2, width = nv * LANES, partial = cols != width;              \
        (void)step;                                                                                     \
        if (partial) {                                                                                  \
            to = whole;                                                                                 \
            ld = NR;                                                                                    \
            if (accumulate)                                                                             \
                for (int r = 0; r < m; r++)                                                             \
                    for (int j = 0; j < width; j++) whole[r * NR + j] = j < cols ? c[r * ldc + j] : 0;  \
            else if (bias) {                                                                            \
                for (int j = 0; j < width; j++) padded[j] = j < cols ? bias[j] : 0;                     \
                bias = padded;                                                                          \
            }                                                                                           \
        }                                                                                               \
        if (nv == 2)                                                                                    \
            switch (m) { FOR_ROWS(TILE_CASE_2) }                                                        \
        else                                                                                            \
            switch (m) { FOR_ROWS(TILE_CASE_1) }                                                        \
        if (partial)                                                                                    \
            for (int r = 0; r < m; r++, c += ldc)                                                       \
                FBP_IVDEP for (int j = 0; j < width; j++) {                                             \
                    if (j < cols)                                                                       \
                        c[j] = whole[r * NR + j];                                                       \
                }                                                                                       \
    }

/* c(m,cols) = bias or c, + a b: a in panels */
#define TILE_CASE_2(M) case M: FN(tile)(M, 2, k, a, NR, 1, NR, step, b, to, ld, bias, accumulate); break;
#define TILE_CASE_1(M) case M: FN(tile)(M, 1, k, a, NR, 1, NR, step, b, to, ld, bias, accumulate); break;
TILE(tile_panels)
#undef TILE_CASE_2
#undef TILE_CASE_1
/* c(m,cols) = bias or c, + a^T b: a in a strip */
#define TILE_CASE_2(M) case M: FN(tile)(M, 2, k, a, 1, AW, k, 0, b, to, ld, bias, accumulate); break;
#define TILE_CASE_1(M) case M: FN(tile)(M, 1, k, a, 1, AW, k, 0, b, to, ld, bias, accumulate); break;
TILE(tile_strip)
#undef TILE_CASE_2
#undef TILE_CASE_1
#undef TILE

/* fill_panels: panels(cols / NR, MR, NR) = f(z(m,cols; rows ldz apart)).
 * fill_strip:  strip(n,AW) = f(z(n,cols; rows ldz apart)), cols <= AW. */
#define FILL(name)                                                                                      \
    static void FN(fill_panels_##name)(void *a_, const void *z_, int64_t ldz, int m, int cols) {        \
        for (int r = 0; r < m; r++) {                                                                   \
            REAL *restrict a = (REAL *)a_ + r * NR;                                                     \
            const REAL *restrict z = (const REAL *)z_ + r * ldz;                                        \
            int left = cols;                                                                            \
            for (; left >= NR; left -= NR, a += MR * NR, z += NR)                                       \
                FBP_IVDEP for (int j = 0; j < NR; j++) a[j] = FN(name##_f)(z[j]);                       \
            for (int j = 0; j < left; j++) a[j] = FN(name##_f)(z[j]);                                   \
        }                                                                                               \
    }                                                                                                   \
    static void FN(fill_strip_##name)(void *a_, const void *z_, int64_t ldz, int64_t n, int cols) {     \
        REAL *restrict a = a_;                                                                          \
        const REAL *restrict z = z_;                                                                    \
        if (cols == AW)                                                                                 \
            for (int64_t i = 0; i < n; i++, a += AW, z += ldz)                                          \
                FBP_IVDEP for (int j = 0; j < AW; j++) a[j] = FN(name##_f)(z[j]);                       \
        else                                                                                            \
            for (int64_t i = 0; i < n; i++, a += AW, z += ldz)                                          \
                for (int j = 0; j < cols; j++) a[j] = FN(name##_f)(z[j]);                               \
    }
FBP_ACTIVATIONS(FILL)
#undef FILL

/* ---- packing ------------------------------------------------------------------------------------- */

/* panels(cols / NR, rows in all, NR), rows r0..r1 = M(r0..r1,cols); the last panel is padded with zeros */
static void FN(pack_panels)(void *panels, const void *m_, int64_t rows, int cols, int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; r++) {
        const REAL *restrict m = (const REAL *)m_ + r * cols;
        REAL *restrict to = (REAL *)panels + r * NR;
        int left = cols;
        for (; left >= NR; left -= NR, to += rows * NR, m += NR) memcpy(to, m, NR * sizeof(REAL));
        if (left) {
            memset(to, 0, NR * sizeof(REAL));
            for (int j = 0; j < left; j++) to[j] = m[j];
        }
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

/* b(LANES,LANES; rows ldb apart) = a^T(rows lda apart): log2(LANES) rounds of interleaving halves */
static inline void FN(transpose_block)(REAL *b, int64_t ldb, const REAL *a, int64_t lda) {
    FN(vec) x[LANES], y[LANES];
    FBP_UNROLL for (int i = 0; i < LANES; i++) x[i] = *(const FN(loose) *)(a + i * lda);
    FBP_UNROLL for (int round = 1; round < LANES; round *= 2) {
        FBP_UNROLL for (int i = 0; i < LANES / 2; i++) {
            y[2 * i] = FBP_SHUFFLE(x[i], x[i + LANES / 2], INTERLEAVE_LOW);
            y[2 * i + 1] = FBP_SHUFFLE(x[i], x[i + LANES / 2], INTERLEAVE_HIGH);
        }
        FBP_UNROLL for (int i = 0; i < LANES; i++) x[i] = y[i];
    }
    FBP_UNROLL for (int i = 0; i < LANES; i++) *(FN(loose) *)(b + i * ldb) = x[i];
}

/* panels(rows / NR, cols, NR) of M^T, its columns r0..r1 = M(r0..r1,cols)^T. r0 is a multiple of NR. */
static void FN(pack_transposed)(void *panels, const void *m_, int cols, int r0, int r1) {
    for (int r = r0; r < r1; r += LANES) {
        const REAL *m = (const REAL *)m_ + (int64_t)r * cols;
        REAL *to = (REAL *)panels + (int64_t)(r / NR) * cols * NR + r % NR;
        int j = 0, lanes = r1 - r < LANES ? r1 - r : LANES;
        if (lanes == LANES)
            for (; j + LANES <= cols; j += LANES) FN(transpose_block)(to + (int64_t)j * NR, NR, m + j, cols);
        for (; j < cols; j++)
            for (int i = 0; i < LANES; i++) to[(int64_t)j * NR + i] = i < lanes ? m[(int64_t)i * cols + j] : 0;
    }
}

/* db(cols) (+)= sums over the n rows of a panel, in four interleaved sums */
static void FN(panel_sums)(void *db_, const void *panel, int64_t n, int cols, int accumulate) {
    REAL *db = db_, sum[NR];
    FN(vec) acc[4][2] = {0};
    int64_t i = 0;
    const REAL *dz = panel;
    for (; i + 4 <= n; i += 4)
        FBP_UNROLL for (int q = 0; q < 4; q++) FBP_UNROLL for (int v = 0; v < 2; v++) acc[q][v] +=
            *(const FN(vec) *)(dz + (i + q) * NR + v * LANES);
    for (; i < n; i++)
        for (int v = 0; v < 2; v++) acc[0][v] += *(const FN(vec) *)(dz + i * NR + v * LANES);
    for (int v = 0; v < 2; v++) {
        FN(vec) total = (acc[0][v] + acc[1][v]) + (acc[2][v] + acc[3][v]);
        memcpy(sum + v * LANES, &total, sizeof total);
    }
    for (int j = 0; j < cols; j++) db[j] = accumulate ? db[j] + sum[j] : sum[j];
}

#undef FBP_SHUFFLE
#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
#undef FOR_ROWS
#undef FOR_ROWS_6
