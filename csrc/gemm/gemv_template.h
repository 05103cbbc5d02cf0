/* GEMV: the products of a layer of one output, where W and dz are vectors and panels would be all but empty; see
 * ukernel.h. Included by kernels/template.h. */

static inline REAL FN(sum_of)(FN(vec) v) {
#ifdef VEC_SUM_OF
    return VEC_SUM_OF(v);
#else
    REAL sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += v[lane];
    return sum;
#endif
}

/* The gradient takes some columns at a time, to read whole rows, and sums in four chains. */
#define GV FBP_SIZE(GV)
#define GEMV(name)                                                                                    \
    static void FN(gemv_forward_##name)(void *z_, const void *z_in, const void *W_, const void *b,    \
                                          int64_t n, int in) {                                          \
        const REAL *W = W_;                                                                             \
        for (int64_t r = 0; r < n; r++) {                                                               \
            const REAL *x = (const REAL *)z_in + r * in;                                                \
            FN(vec) acc[2] = {{0}, {0}};                                                                \
            int i = 0;                                                                                  \
            for (; i + NR <= in; i += NR)                                                               \
                EACH(v, 2) acc[v] += FN(activated_##name)(x + i + v * LANES, LANES) *                   \
                                     AT((REAL *)W, i + v * LANES);                                      \
            for (; i < in; i += LANES)                                                                  \
                acc[0] += FN(activated_##name)(x + i, in - i) * FN(load_part)(W + i, in - i);           \
            ((REAL *)z_)[r] = *(const REAL *)b + FN(sum_of)(acc[0] + acc[1]);                           \
        }                                                                                               \
    }                                                                                                   \
    static void FN(gemv_input_grad_##name)(void *dz_in, const void *z_in, const void *W, const void *dz, \
                                             int64_t ld, int64_t n, int64_t r0, int64_t r1, int in) {   \
        for (int j = 0; j < in; j += NR) {                                                              \
            const FN(vec) Wj[2] = {FN(get)((REAL *)W + j, in - j), FN(get)((REAL *)W + j + LANES, in - j - LANES)}; \
            for (int64_t r = r0; r < r1; r++)                                                           \
                EACH(v, 2) AT((REAL *)dz_in, j * n + r * NR + v * LANES) = FN(derived_##name)(Wj[v] *   \
                    ((const REAL *)dz)[r * ld], (const REAL *)z_in + r * in + j + v * LANES, in - j - v * LANES); \
        }                                                                                               \
    }                                                                                                   \
    static inline __attribute__((always_inline)) void FN(gemv_columns_##name)(                        \
        const int nv, REAL *dW, const REAL *dz, int64_t ld, const REAL *x, int64_t ldz, int64_t n,      \
        int cols, int accumulate) {                                                                     \
        FN(vec) acc[GV][4] = {{{0}}};                                                       \
        int64_t r = 0;                                                                                  \
        for (; r + 4 <= n; r += 4, x += 4 * ldz, dz += 4 * ld)                                          \
            EACH(q, 4) EACH(v, nv) acc[v][q] +=                                                         \
                FN(activated_##name)(x + q * ldz + v * LANES, cols - v * LANES) * dz[q * ld];           \
        for (; r < n; r++, x += ldz, dz += ld)                                                          \
            EACH(v, nv) acc[v][0] += FN(activated_##name)(x + v * LANES, cols - v * LANES) * *dz;       \
        EACH(v, nv) {                                                                                   \
            FN(vec) sum = (acc[v][0] + acc[v][1]) + (acc[v][2] + acc[v][3]);                            \
            if (accumulate)                                                                             \
                sum += FN(load_part)(dW + v * LANES, cols - v * LANES);                                 \
            FN(store_part)(dW + v * LANES, sum, cols - v * LANES);                                      \
        }                                                                                               \
    }                                                                                                   \
    static void FN(gemv_weight_grad_##name)(void *dW, const void *dz, int64_t ld, const void *z_in,          \
                                       int64_t ldz, int64_t n, int cols, int accumulate) {              \
        enum { GROUP = GV * LANES };                                                        \
        const REAL *x = z_in;                                                                           \
        int i = 0;                                                                                      \
        for (; i + GROUP <= cols; i += GROUP)                                                           \
            FN(gemv_columns_##name)(GV, (REAL *)dW + i, dz, ld, x + i, ldz, n, GROUP, accumulate); \
        for (; i < cols; i += LANES)                                                                    \
            FN(gemv_columns_##name)(1, (REAL *)dW + i, dz, ld, x + i, ldz, n, cols - i, accumulate);  \
    }
FBP_SHORT_ACTIVATIONS(GEMV)
#undef GEMV

/* The same of activations whose arithmetic is long: f(z), a block at a time, is written to the stack, and the kernels
 * of the identity do the rest. Inlined in each of the three it would be most of the code of the library. */
#define GEMV_BLOCKS(name)                                                                                   static void FN(gemv_forward_##name)(void *z_, const void *z_in, const void *W, const void *b,                                               int64_t n, int in) {                                                    REAL a[FBP_L1_NUMBERS] __attribute__((aligned(64))), *z = z_;                                           for (int64_t r = 0; r < n; r++)                                                                             for (int i = 0; i < in; i += FBP_L1_NUMBERS) {                                                              int cols = in - i < FBP_L1_NUMBERS ? in - i : FBP_L1_NUMBERS;                                           FN(act_##name)(a, (const REAL *)z_in + r * in + i, cols, 1, cols);                                      FN(gemv_forward_identity)(z + r, a, (const REAL *)W + i, i ? z + r : b, 1, cols);                   }                                                                                               }                                                                                                       static void FN(gemv_input_grad_##name)(void *dz_in, const void *z_in, const void *W, const void *dz,                                            int64_t ld, int64_t n, int64_t r0, int64_t r1, int in) {             FN(gemv_input_grad_identity)(dz_in, z_in, W, dz, ld, n, r0, r1, in);                                    for (int j = 0; j < in; j += NR)                                                                            FN(derive_##name)((REAL *)dz_in + j * n + r0 * NR, NR, (const REAL *)z_in + r0 * in + j, in,                               r1 - r0, in - j < NR ? in - j : NR);                                          }                                                                                                       static void FN(gemv_weight_grad_##name)(void *dW, const void *dz, int64_t ld, const void *z_in,                                                 int64_t ldz, int64_t n, int cols, int accumulate) {                 enum { WIDTH = GV * LANES, ROWS = FBP_L1_NUMBERS / WIDTH };                                             REAL a[ROWS * WIDTH] __attribute__((aligned(64)));                                                      for (int i = 0; i < cols; i += WIDTH)                                                                       for (int64_t r = 0; r < n; r += ROWS) {                                                                     int64_t rows = n - r < ROWS ? n - r : ROWS;                                                             int width = cols - i < WIDTH ? cols - i : WIDTH;                                                        FN(act_##name)(a, (const REAL *)z_in + r * ldz + i, ldz, rows, width);                                  FN(gemv_weight_grad_identity)((REAL *)dW + i, (const REAL *)dz + r * ld, ld, a, width,                                                rows, width, accumulate || r > 0);                                    }                                                                                               }
FBP_LONG_ACTIVATIONS(GEMV_BLOCKS)
#undef GEMV_BLOCKS
#undef GV
