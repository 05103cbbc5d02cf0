/* The register-blocked products behind dense_packed.c, once per dtype and instruction set. Portable vector
 * code: a tile of MR rows by NR = 2 vectors of columns is kept in registers while k runs.
 *   panels  (p, rows, NR): NR columns of a matrix side by side; the right factor of a tile is one of them, or
 *           columns of an unpacked W, its rows ldb apart
 *   rows    (m, ROW(k)): rows of k numbers of a left factor, a distance apart that the compiler knows
 *   strip   (k, AW): columns of a matrix, at least MR of them, for the product that sums over rows
 * Every element of C sums over k in ascending order, whatever the tile, so the bits do not depend on how rows are
 * cut. */

#if VBYTES == 64
#define MR 14 /* 28 sums, 2 columns vectors and a broadcast in 32 registers */
#define AW 16
#else
#define MR 6 /* 12 + 2 + 1 of 16 registers */
#define AW 8
#endif
#define NR (2 * LANES)
#define ROW(k) FBP_ROW(k, NR)
_Static_assert(FBP_K_BLOCK % NR == 0, "rows are padded to whole panels");

#if defined(__clang__) || __GNUC__ >= 12
#define FBP_SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
typedef FN(bits) FN(mask) __attribute__((vector_size(VBYTES)));
#define FBP_SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (FN(mask)){__VA_ARGS__})
#endif

#define EACH(r, m) FBP_UNROLL for (int r = 0; r < (m); r++)
/* The same with `row` moving along: without the barrier all addresses are computed beforehand and spilled. */
#define EACH_ROW(r, m, row, ld) \
    FBP_UNROLL for (int r = 0; r < (m); r++, row += (ld), ({ __asm__("" : "+r"(row)); }))

/* One k. Without the barrier GCC lets sums change their registers from one k to the next, by moves. */
#define MULTIPLY_ADD                                                                    \
    FN(vec) column[2];                                                                  \
    EACH(v, nv) column[v] = AT((REAL *)b, v * LANES);                                   \
    EACH(r, m) EACH(v, nv) {                                                            \
        acc[r][v] += a[r * rs] * column[v];                                             \
        FBP_STAYS(acc[r][v]);                                                           \
    }                                                                                   \
    a += ks;                                                                            \
    b += ldb;

/* Beside each k, a line of what the next tiles need; see fbp_ahead. */
#define LOOK_AHEAD                      \
    __builtin_prefetch(block, 0, 2);    \
    __builtin_prefetch(line, 0, 2);     \
    block += ahead->block_step;         \
    line += ahead->line_step;

/* d where z > 0 or z is NaN, zero elsewhere */
static inline FN(vec) FN(gated)(FN(vec) d, FN(vec) z) {
    typedef FN(bits) mask __attribute__((vector_size(VBYTES)));
    FN(vec) zero = {0};
    return (FN(vec))((mask)d & ~(mask)(z <= zero));
}

/* c(m,nv vectors) = a b over k, and then what the epilogue says. Numbers of a are rs apart from row to row and ks
 * along k; m, nv and rs are constants at each call. In the long loop nothing but k decides the branches: an inner
 * one whose end is guessed wrong would cost 20 cycles. */
static inline __attribute__((always_inline)) void FN(tile)(const int m, const int nv, const int64_t rs,
                                                           int64_t ks, int64_t k, const REAL *a,
                                                           const REAL *b, int64_t ldb, REAL *c, int64_t ldc,
                                                           const fbp_epilogue *then, const fbp_ahead *ahead) {
    FN(vec) acc[MR][2] = {{{0}}};
    REAL *row = c;
    if (ahead) {
        const char *block = ahead->block, *line = ahead->line;
        /* line by line: all at once would hold up what each k needs from the L2 cache */
        for (int v = 0; v < nv; v++) {
            const char *one = ahead->beside[0] + v * VBYTES, *other = ahead->beside[1] + v * VBYTES;
            for (int r = 0; r < m && k >= 2; r++, k -= 2) {
                __builtin_prefetch(one, 1);
                __builtin_prefetch(other, 1);
                one += ahead->beside_step[0];
                other += ahead->beside_step[1];
                EACH(u, 2) {
                    LOOK_AHEAD
                    MULTIPLY_ADD
                }
            }
        }
        for (; k >= 2; k -= 2) {
            EACH(u, 2) {
                LOOK_AHEAD
                MULTIPLY_ADD
            }
        }
    } else {
        if (then->accumulate)
            EACH_ROW(r, m, row, ldc)
                EACH(v, nv) __builtin_prefetch(row + v * LANES, 1);
        for (; k >= 2; k -= 2) {
            EACH(u, 2) {
                MULTIPLY_ADD
            }
        }
    }
    if (k) {
        MULTIPLY_ADD
    }
    row = c;
    if (then->accumulate) {
        EACH_ROW(r, m, row, ldc)
            EACH(v, nv) acc[r][v] += AT(row, v * LANES);
    } else if (then->bias) {
        FN(vec) add[2];
        EACH(v, nv) add[v] = AT((REAL *)then->bias, v * LANES);
        EACH(r, m)
            EACH(v, nv) acc[r][v] += add[v];
    }
    if (then->gate) {
        REAL *z = (REAL *)then->gate;
        EACH_ROW(r, m, z, then->ldg)
            EACH(v, nv) acc[r][v] = FN(gated)(acc[r][v], AT(z, v * LANES));
    }
    row = c;
    EACH_ROW(r, m, row, ldc)
        EACH(v, nv) AT(row, v * LANES) = acc[r][v];
}

/* cols <= NR numbers as a panel's row padded with zeros */
static inline void FN(load_row)(REAL *row, const REAL *from, int cols) {
    EACH(v, 2) AT(row, v * LANES) = FN(load_part)(from + v * LANES, cols - v * LANES);
}

#define FOR_ROWS_6(X) X(1) X(2) X(3) X(4) X(5) X(6)
#if VBYTES == 64
#define FOR_ROWS(X) FOR_ROWS_6(X) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#else
#define FOR_ROWS(X) FOR_ROWS_6(X)
#endif

/* One function per number of rows and vectors: inlined into one, their addresses would crowd the sums out of the
 * registers. short_rows: a in rows of up to NR numbers. long_rows: of more. strip: a^T, row by row lda apart. */
#define TILES(M)                                                                            \
    TILE(short_rows, M, 1, NR, 1) TILE(short_rows, M, 2, NR, 1) TILE(long_rows, M, 1, FBP_K_BLOCK, 1)          \
    TILE(long_rows, M, 2, FBP_K_BLOCK, 1) TILE(strip, M, 1, 1, lda) TILE(strip, M, 2, 1, lda)
#define TILE(name, M, V, RS, KS)                                                                            \
    static void FN(name##_##M##_##V)(int64_t k, const REAL *a, int64_t lda, const REAL *b, int64_t ldb,     \
                                     REAL *c, int64_t ldc, const fbp_epilogue *then,                        \
                                     const fbp_ahead *ahead) {                                              \
        (void)lda;                                                                                          \
        FN(tile)(M, V, RS, KS, k, a, b, ldb, c, ldc, then, ahead);                                          \
    }
FOR_ROWS(TILES)
#undef TILE
#undef TILES

typedef void FN(tile_function)(int64_t k, const REAL *a, int64_t lda, const REAL *b, int64_t ldb, REAL *c,
                               int64_t ldc, const fbp_epilogue *then, const fbp_ahead *ahead);
#define PAIR_SHORT(M) {FN(short_rows_##M##_1), FN(short_rows_##M##_2)},
#define PAIR_LONG(M) {FN(long_rows_##M##_1), FN(long_rows_##M##_2)},
#define PAIR_STRIP(M) {FN(strip_##M##_1), FN(strip_##M##_2)},
static FN(tile_function) *const FN(short_row_tiles)[MR][2] = {FOR_ROWS(PAIR_SHORT)};
static FN(tile_function) *const FN(long_row_tiles)[MR][2] = {FOR_ROWS(PAIR_LONG)};
static FN(tile_function) *const FN(strip_tiles)[MR][2] = {FOR_ROWS(PAIR_STRIP)};
#undef PAIR_SHORT
#undef PAIR_LONG
#undef PAIR_STRIP

/* Any m <= MR and cols <= NR. A partial panel is computed in a whole one on the stack. */
static void FN(any_tile)(FN(tile_function) *const tiles[MR][2], int m, int cols, int64_t k, const void *a,
                         int64_t lda, const void *b, int64_t ldb, REAL *c, int64_t ldc,
                         const fbp_epilogue *then, const fbp_ahead *ahead) {
    REAL whole[MR * NR] __attribute__((aligned(64))), padded[NR] __attribute__((aligned(64)));
    const int nv = cols <= LANES ? 1 : 2;
    FN(tile_function) *tile = tiles[m - 1][nv - 1];
    if (cols == nv * LANES) {
        tile(k, a, lda, b, ldb, c, ldc, then, ahead);
        return;
    }
    fbp_epilogue here = *then; /* of a partial panel there is no gate */
    /* vector by vector: the mask of a part is made once */
    if (then->accumulate) {
        for (int v = 0; v < nv; v++)
            for (int r = 0; r < m; r++)
                AT(whole, r * NR + v * LANES) = FN(load_part)(c + r * ldc + v * LANES, cols - v * LANES);
    } else if (then->bias) {
        FN(load_row)(padded, then->bias, cols);
        here.bias = padded;
    }
    tile(k, a, lda, b, ldb, whole, NR, &here, ahead);
    for (int v = 0; v < nv; v++)
        for (int r = 0; r < m; r++)
            FN(store_part)(c + r * ldc + v * LANES, AT(whole, r * NR + v * LANES), cols - v * LANES);
}

/* c(m,cols) = a b and what then becomes of it: a in rows of k; a gate only where the panel is whole */
static void FN(tile_rows)(int m, int cols, int64_t k, const void *a, const void *b, int64_t ldb, void *c,
                          int64_t ldc, const fbp_epilogue *then, const fbp_ahead *ahead) {
    FN(any_tile)(k <= NR ? FN(short_row_tiles) : FN(long_row_tiles), m, cols, k, a, 0, b, ldb, c, ldc, then,
                 ahead);
}

/* c(m,cols) = a^T b, or + c: rows of a lda apart */
static void FN(tile_strip)(int m, int cols, int64_t k, const void *a, int64_t lda, const void *b, int64_t ldb,
                           void *c, int64_t ldc, int accumulate, const fbp_ahead *ahead) {
    fbp_epilogue then = {.accumulate = accumulate};
    FN(any_tile)(FN(strip_tiles), m, cols, k, a, lda, b, ldb, c, ldc, &then, ahead);
}

/* fill_rows:  rows(m,ROW(cols)) = f(z(m,cols; rows ldz apart)), padded up to a multiple of NR.
 * fill_strip: strip(n,AW) = f(z(n,cols; rows ldz apart)), cols <= AW. */
#define FILL(name)                                                                                      \
    static void FN(fill_rows_##name)(void *a_, const void *z_, int64_t ldz, int m, int cols) {          \
        for (int r = 0; r < m; r++) {                                                                   \
            REAL *restrict a = (REAL *)a_ + r * ROW(cols);                                              \
            const REAL *restrict z = (const REAL *)z_ + r * ldz;                                        \
            REAL row[NR] __attribute__((aligned(64)));                                                  \
            int left = cols;                                                                            \
            for (; left >= NR; left -= NR, a += NR, z += NR)                                            \
                FBP_IVDEP for (int j = 0; j < NR; j++) a[j] = FN(name##_f)(z[j]);                       \
            if (left) {                                                                                 \
                FN(load_row)(row, z, left);                                                             \
                FBP_IVDEP for (int j = 0; j < NR; j++) a[j] = FN(name##_f)(row[j]);                     \
            }                                                                                           \
        }                                                                                               \
    }                                                                                                   \
    static void FN(fill_strip_##name)(void *a_, const void *z_, int64_t ldz, int64_t n, int cols) {     \
        REAL *restrict a = a_;                                                                          \
        const REAL *restrict z = z_;                                                                    \
        if (cols == AW)                                                                                 \
            for (int64_t i = 0; i < n; i++, a += AW, z += ldz)                                          \
                FBP_IVDEP for (int j = 0; j < AW; j++) a[j] = FN(name##_f)(z[j]);                       \
        else                                                                                            \
            for (int64_t i = 0; i < n; i++, a += AW, z += ldz) {                                        \
                REAL row[AW] __attribute__((aligned(64)));                                              \
                for (int j = 0; j < AW; j += LANES) AT(row, j) = FN(load_part)(z + j, cols - j);        \
                FBP_IVDEP for (int j = 0; j < AW; j++) a[j] = FN(name##_f)(row[j]);                     \
            }                                                                                           \
    }
FBP_ACTIVATIONS(FILL)
#undef FILL

/* rows(m,ROW(cols)) of a matrix in panels, the next panel `jump` further on */
static void FN(copy_rows)(void *a, const void *panels, int64_t jump, int m, int cols) {
    for (int j = 0; j < cols; j += NR) {
        const REAL *from = (const REAL *)panels + j / NR * jump;
        for (int r = 0; r < m; r++)
            EACH(v, 2) AT((REAL *)a, r * ROW(cols) + j + v * LANES) = AT((REAL *)from, r * NR + v * LANES);
    }
}

/* fill_rows and fill_strip (of several strips, `strip` columns in each) of rows of X where they are */
static void FN(gather_rows)(void *a, const fbp_rows *rows, int64_t r0, int64_t i0, int m, int cols) {
    for (int r = 0; r < m; r++)
        FN(fill_rows_identity)((REAL *)a + r * ROW(cols),
                               (const REAL *)(const void *)fbp_row_at(rows, r0 + r) + i0, 0, 1, cols);
}

static void FN(gather_strips)(void *strips, const fbp_rows *rows, int64_t r0, int64_t n, int64_t i0,
                              int64_t i1, int64_t strip, int in) {
    for (int64_t r = 0; r < n; r++) {
        const REAL *x = (const REAL *)(const void *)fbp_row_at(rows, r0 + r);
        REAL *a = (REAL *)strips + r * AW;
        for (int64_t i = i0; i < i1; i += strip, a += n * AW) {
            int left = (int)(in - i);
            if (left >= AW) { /* what lies beyond the strip is not used */
                EACH(v, AW / LANES) AT(a, v * LANES) = AT((REAL *)x, i + v * LANES);
            } else {
                EACH(v, AW / LANES) AT(a, v * LANES) = FN(load_part)(x + i + v * LANES, left - v * LANES);
            }
        }
    }
}

/* ---- packing ------------------------------------------------------------------------------------- */

/* panels(cols / NR, rows in all, NR), rows r0..r1 = M(r0..r1,cols; rows ld apart); the last panel is padded with
 * zeros. A few rows at a time: columns of all rows would read lines a power of two apart, whole rows would write
 * them. */
static void FN(pack_panels)(void *panels, const void *m_, int64_t ld, int64_t rows, int cols, int64_t r0,
                            int64_t r1) {
    for (int64_t first = r0; first < r1; first += FBP_PACK_ROWS) {
        int64_t end = first + FBP_PACK_ROWS < r1 ? first + FBP_PACK_ROWS : r1;
        REAL *to = panels;
        const REAL *m = m_;
        int left = cols;
        for (; left >= NR; left -= NR, to += rows * NR, m += NR)
            for (int64_t r = first; r < end; r++)
                EACH(v, 2) AT(to, r * NR + v * LANES) = AT((REAL *)m, r * ld + v * LANES);
        if (left)
            for (int64_t r = first; r < end; r++) FN(load_row)(to + r * NR, m + r * ld, left);
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
static inline __attribute__((always_inline)) void FN(transpose_block)(REAL *b, int64_t ldb, const REAL *a,
                                                                      int64_t lda, int rows, int cols) {
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

/* db(cols) (+)= sums over the n rows of a panel, in four interleaved sums */
static void FN(panel_sums)(void *db_, const void *panel, int64_t n, int cols, int accumulate) {
    for (int j = 0; j < cols; j += LANES) {
        REAL *db = (REAL *)db_ + j;
        const REAL *dz = (const REAL *)panel + j;
        FN(vec) acc[4] = {{0}, {0}, {0}, {0}};
        int64_t i = 0;
        for (; i + 4 <= n; i += 4) EACH(q, 4) acc[q] += AT((REAL *)dz, (i + q) * NR);
        for (; i < n; i++) acc[0] += AT((REAL *)dz, i * NR);
        acc[0] = (acc[0] + acc[1]) + (acc[2] + acc[3]);
        if (accumulate)
            acc[0] += FN(load_part)(db, cols - j);
        FN(store_part)(db, acc[0], cols - j);
    }
}
