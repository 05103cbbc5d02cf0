/* The product of a few rows with W as it stands, row-major and of float or double: packing it would cost more than the
 * product. C(n,out) = A(n,in) W + b, every number summed over k in ascending order, whatever the tile. Included by
 * kernels/template.h. */

#define DR FBP_DIRECT_ROWS
_Static_assert(DR == 6, "a tile for each number of rows");
#define MOST_VECTORS 8 /* of a tile of one row */

/* LANES numbers of W, as a vector of our own type. */
#ifdef FBP_IS_F32
#define EACH_WEIGHT_TYPE(X) X(float)
static inline FN(vec) FN(wide_float)(const float *w) { return AT((REAL *)w, 0); }
#else
#define EACH_WEIGHT_TYPE(X) X(float) X(double)
typedef float FN(narrow) __attribute__((vector_size(VBYTES / 2), aligned(4), may_alias));
static inline FN(vec) FN(wide_float)(const float *w) {
    return __builtin_convertvector(*(const FN(narrow) *)w, FN(vec));
}
static inline FN(vec) FN(wide_double)(const double *w) { return AT((REAL *)w, 0); }
#endif

/* c(m,cols) = a W + b for nv vectors of columns; m and nv are constants at each call. Of the first `whole` rows of W
 * nv whole vectors may be read; of the others `cols` numbers. */
#define DIRECT_ROW(TYPE, w)                                        \
    EACH(v, nv) {                                                  \
        column[v] = FN(wide_##TYPE)((w) + v * LANES);              \
        FBP_STAYS(column[v]);                                      \
    }                                                              \
    EACH(r, m) EACH(v, nv) acc[r][v] += a[r * lda] * column[v];
#define DIRECT(TYPE)                                                                                            \
    static inline __attribute__((always_inline)) void FN(direct_tile_##TYPE)(                                   \
        const int m, const int nv, const REAL *a, int64_t lda, const TYPE *W, const TYPE *b, REAL *c, int in,   \
        int out, int whole, int cols) {                                                                         \
        TYPE part[MOST_VECTORS * LANES] = {0};                                                                  \
        FN(vec) acc[DR][MOST_VECTORS], column[MOST_VECTORS];                                                    \
        memcpy(part, b, (size_t)cols * sizeof *b);                                                              \
        EACH(r, m) EACH(v, nv) acc[r][v] = FN(wide_##TYPE)(part + v * LANES);                                   \
        int k = 0;                                                                                              \
        for (; k < whole; k++, W += out, a++) {                                                                 \
            DIRECT_ROW(TYPE, W)                                                                                 \
        }                                                                                                       \
        for (; k < in; k++, W += out, a++) {                                                                    \
            memcpy(part, W, (size_t)cols * sizeof *W);                                                          \
            DIRECT_ROW(TYPE, part)                                                                              \
        }                                                                                                       \
        EACH(r, m) EACH(v, nv) FN(put)(c + (int64_t)r * out + v * LANES, acc[r][v], cols - v * LANES);          \
    }
EACH_WEIGHT_TYPE(DIRECT)
#undef DIRECT
#undef DIRECT_ROW

/* One function per number of rows and vectors, as of the micro-kernels. A single row has many vectors, for their sums
 * not to wait for each other. */
#define EACH_NARROW_TILE(X, TYPE) \
    X(TYPE, 1, 1) X(TYPE, 2, 1) X(TYPE, 3, 1) X(TYPE, 4, 1) X(TYPE, 5, 1) X(TYPE, 6, 1)
#define EACH_TILE(X, TYPE)                                                               \
    EACH_NARROW_TILE(X, TYPE)                                                            \
    X(TYPE, 1, 2) X(TYPE, 2, 2) X(TYPE, 3, 2) X(TYPE, 4, 2) X(TYPE, 5, 2) X(TYPE, 6, 2)  \
    X(TYPE, 1, 4) X(TYPE, 2, 4) X(TYPE, 3, 4) X(TYPE, 1, 8)
#define TILE_FUNCTION(TYPE, M, V)                                                                                \
    static void FN(direct_##TYPE##_##M##_##V)(const REAL *a, int64_t lda, const TYPE *W, const TYPE *b, REAL *c, \
                                              int in, int out, int whole, int cols) {                           \
        FN(direct_tile_##TYPE)(M, V, a, lda, W, b, c, in, out, whole, cols);                                     \
    }
#define TILE_ENTRY(TYPE, M, V) [M - 1][V == 8 ? 3 : V / 2] = FN(direct_##TYPE##_##M##_##V),
#define DIRECT(TYPE)                                                                                             \
    EACH_TILE(TILE_FUNCTION, TYPE)                                                                               \
    static void FN(direct_##TYPE)(void *c_, const void *a, int64_t lda, int64_t n, const void *W_, const void *b_, \
                                  int in, int out) {                                                             \
        typedef void tile(const REAL *, int64_t, const TYPE *, const TYPE *, REAL *, int, int, int, int);        \
        static tile *const tiles[DR][4] = {EACH_TILE(TILE_ENTRY, TYPE)};                                         \
        const TYPE *W = W_, *b = b_;                                                                             \
        int64_t blocks = (n + DR - 1) / DR, whole = (int64_t)in * out;                                           \
        int widest = n == 1 ? 3 : n <= 3 ? 2 : 1, size = widest;                                                 \
        for (int j = 0; j < out; j += LANES << size) {                                                           \
            while (size && (LANES << (size - 1)) >= out - j) size--;                                             \
            int columns = LANES << size, cols = out - j < columns ? out - j : columns;                           \
            int64_t safe = cols == columns ? in : (whole - j - columns) / out + (whole - j >= columns);          \
            for (int64_t block = 0; block < blocks; block++) {                                                   \
                int64_t r0 = n * block / blocks, r1 = n * (block + 1) / blocks;                                  \
                tiles[r1 - r0 - 1][size]((const REAL *)a + r0 * lda, lda, W + j, b + j, (REAL *)c_ + r0 * out + j, \
                                         in, out, (int)safe, cols);                                              \
            }                                                                                                    \
        }                                                                                                        \
    }
EACH_WEIGHT_TYPE(DIRECT)
#undef DIRECT
#undef TILE_FUNCTION
#undef TILE_ENTRY
#undef EACH_TILE
#undef EACH_NARROW_TILE
#undef DR
#undef MOST_VECTORS
