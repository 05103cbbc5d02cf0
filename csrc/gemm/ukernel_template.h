/* The micro-kernels, in portable vector code: see ukernel.h. Every number of C sums over k in ascending order, whatever
 * the micro-tile, so the bits do not depend on how rows are cut. Included by kernels/template.h. */

_Static_assert(FBP_KC % NR == 0, "A micro-panels along rows are padded to whole panels");

#if defined(__clang__) || __GNUC__ >= 12
#define FBP_SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
typedef FN(bits) FN(mask) __attribute__((vector_size(VBYTES)));
#define FBP_SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (FN(mask)){__VA_ARGS__})
#endif

/* One k. Without the barriers GCC loads B anew for each row where rows are few, and lets sums change their registers
 * from one k to the next, by moves. */
#define MULTIPLY_ADD                                                                    \
    FN(vec) column[2];                                                                  \
    EACH(v, nv) {                                                                       \
        column[v] = AT((REAL *)b, v * LANES);                                           \
        FBP_STAYS(column[v]);                                                           \
    }                                                                                   \
    EACH(r, m) EACH(v, nv) {                                                            \
        acc[r][v] += a[r * rs] * column[v];                                             \
        FBP_STAYS(acc[r][v]);                                                           \
    }                                                                                   \
    a += ks;                                                                            \
    b += ldb;

/* For each k, a line of what the next tiles need. */
#define PREFETCH_NEXT                   \
    __builtin_prefetch(b_next, 0, 2);   \
    __builtin_prefetch(a_next, 0, 2);   \
    b_next += prefetch->b_step;         \
    a_next += prefetch->a_step;

/* d where z > 0 or z is NaN, zero elsewhere */
static inline FN(vec) FN(relu_slope)(FN(vec) d, FN(vec) z) {
    typedef FN(bits) mask __attribute__((vector_size(VBYTES)));
    FN(vec) zero = {0};
    return (FN(vec))((mask)d & ~(mask)(z <= zero));
}

/* c(m,nv vectors) = a b over k, and then the post-ops. Numbers of a are rs apart from row to row and ks
 * along k; m, nv and rs are constants at each call. In the long loop nothing but k decides the branches: an inner
 * one whose end is guessed wrong would cost 20 cycles. */
static inline
    __attribute__((always_inline)) void FN(tile)(const int m, const int nv, const int64_t rs, int64_t ks, int64_t k,
                                                 const REAL *a, const REAL *b, int64_t ldb, REAL *c, int64_t ldc,
                                                 const fbp_post_ops *post, const fbp_prefetch *prefetch) {
    FN(vec) acc[MR][2] = {{{0}}};
    if (prefetch) {
        const char *b_next = prefetch->b_next, *a_next = prefetch->a_next;
        /* C line by line, to be written: all at once would hold up what each k needs from the L2 cache */
        for (int v = 0; v < nv; v++) {
            const char *written = (const char *)c + v * VBYTES;
            for (int r = 0; r < m && k >= 2; r++, k -= 2) {
                __builtin_prefetch(written, 1);
                written += ldc * (int64_t)sizeof(REAL);
                EACH(u, 2) {
                    PREFETCH_NEXT
                    MULTIPLY_ADD
                }
            }
        }
        for (; k >= 2; k -= 2) {
            EACH(u, 2) {
                PREFETCH_NEXT
                MULTIPLY_ADD
            }
        }
    } else {
        for (; k >= 2; k -= 2) {
            EACH(u, 2) {
                MULTIPLY_ADD
            }
        }
    }
    if (k) {
        MULTIPLY_ADD
    }
    REAL *row = c;
    if (post->accumulate) {
        EACH_ROW(r, m, row, ldc)
            EACH(v, nv) acc[r][v] += AT(row, v * LANES);
    } else if (post->bias) {
        FN(vec) add[2];
        EACH(v, nv) add[v] = AT((REAL *)post->bias, v * LANES);
        EACH(r, m)
            EACH(v, nv) acc[r][v] += add[v];
    }
    if (post->relu_z) {
        REAL *z = (REAL *)post->relu_z;
        EACH_ROW(r, m, z, post->ldz)
            EACH(v, nv) acc[r][v] = FN(relu_slope)(acc[r][v], AT(z, v * LANES));
    }
    row = c;
    EACH_ROW(r, m, row, ldc)
        EACH(v, nv) AT(row, v * LANES) = acc[r][v];
}

#define EACH_M6(X) X(1) X(2) X(3) X(4) X(5) X(6)
#if VBYTES == 64
#define EACH_M(X) EACH_M6(X) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#else
#define EACH_M(X) EACH_M6(X)
#endif

/* One function per number of rows and vectors: inlined into one, their addresses would crowd the sums out of the
 * registers. */
#define UKERNEL(name, M, V, RS, KS)                                                                         \
    static void FN(name##_##M##_##V)(int64_t k, const REAL *a, const REAL *b, int64_t ldb,     \
                                     REAL *c, int64_t ldc, const fbp_post_ops *post,                        \
                                     const fbp_prefetch *prefetch) {                                        \
        FN(tile)(M, V, RS, KS, k, a, b, ldb, c, ldc, post, prefetch);                                       \
    }
#define UKERNELS(M)                                                    \
    UKERNEL(rows, M, 1, FBP_KC, 1) UKERNEL(rows, M, 2, FBP_KC, 1)      \
    UKERNEL(columns, M, 1, 1, AW) UKERNEL(columns, M, 2, 1, AW)
EACH_M(UKERNELS)
#undef UKERNEL
#undef UKERNELS

typedef void FN(ukernel)(int64_t k, const REAL *a, const REAL *b, int64_t ldb, REAL *c, int64_t ldc,
                         const fbp_post_ops *post, const fbp_prefetch *prefetch);

/* Any m <= MR and cols <= NR. A partial panel is computed in a whole one on the stack. */
static inline void FN(any_tile)(FN(ukernel) *const kernels[][2], int m, int cols, int64_t k, const void *a,
                                const void *b, int64_t ldb, REAL *c, int64_t ldc, const fbp_post_ops *post,
                                const fbp_prefetch *prefetch) {
    REAL whole[MR * NR] __attribute__((aligned(64))), padded[NR] __attribute__((aligned(64)));
    const int nv = cols <= LANES ? 1 : 2;
    FN(ukernel) *kernel = kernels[m - 1][nv - 1];
    if (cols == nv * LANES) {
        kernel(k, a, b, ldb, c, ldc, post, prefetch);
        return;
    }
    fbp_post_ops here = *post; /* of a partial panel there is no relu_z */
    /* vector by vector: the mask of a part is made once */
    if (post->accumulate) {
        for (int v = 0; v < nv; v++)
            for (int r = 0; r < m; r++)
                AT(whole, r * NR + v * LANES) = FN(load_part)(c + r * ldc + v * LANES, cols - v * LANES);
    } else if (post->bias) {
        EACH(v, 2) AT(padded, v * LANES) = FN(get)((REAL *)post->bias + v * LANES, cols - v * LANES);
        here.bias = padded;
    }
    kernel(k, a, b, ldb, whole, NR, &here, prefetch);
    for (int v = 0; v < nv; v++)
        for (int r = 0; r < m; r++)
            FN(store_part)(c + r * ldc + v * LANES, AT(whole, r * NR + v * LANES), cols - v * LANES);
}

#define PAIR_ROWS(M) {FN(rows_##M##_1), FN(rows_##M##_2)},
#define PAIR_COLUMNS(M) {FN(columns_##M##_1), FN(columns_##M##_2)},
#define ALONG(name, PAIR)                                                                                        \
    static void FN(along_##name)(int m, int cols, int64_t k, const void *a, const void *b,          \
                                 int64_t ldb, void *c, int64_t ldc, const fbp_post_ops *post,                    \
                                 const fbp_prefetch *prefetch) {                                                 \
        static FN(ukernel) *const kernels[][2] = {EACH_M(PAIR)};                                                 \
        _Static_assert(sizeof kernels / sizeof *kernels == MR, "one for each number of rows");                   \
        FN(any_tile)(kernels, m, cols, k, a, b, ldb, c, ldc, post, prefetch);                               \
    }
ALONG(rows, PAIR_ROWS)
ALONG(columns, PAIR_COLUMNS)
#undef ALONG
#undef PAIR_ROWS
#undef PAIR_COLUMNS
#undef EACH_M
