/* The products of a layer of one output, once per dtype and instruction set: W and dz are vectors, and panels would be
 * all but empty. Included by kernels_template.h. */

/* f of the first `count` numbers at z, as a vector padded with f(0) */
#define ACTIVATED(name)                                                                                 \
    static inline __attribute__((always_inline)) FN(vec) FN(activated_##name)(const REAL *z, int count) { \
        REAL row[LANES] __attribute__((aligned(64)));                                                   \
        AT(row, 0) = count >= LANES ? AT((REAL *)z, 0) : FN(load_part)(z, count);                       \
        FBP_IVDEP for (int j = 0; j < LANES; j++) row[j] = FN(name##_f)(row[j]);                        \
        return AT(row, 0);                                                                              \
    }
FBP_ACTIVATIONS(ACTIVATED)
#undef ACTIVATED

static inline REAL FN(sum_of)(FN(vec) v) {
#ifdef VEC_SUM_OF
    return VEC_SUM_OF(v);
#else
    REAL sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += v[lane];
    return sum;
#endif
}

/* dz is one number every ld.
 * single_forward:    z(n) = f(z_in(n,in)) W + b
 * single_input_grad: rows r0..r1 of dz_in in panels (p,n,NR) = dz W^T * f'(z_in(n,in))
 * single_grad:       dW(cols) (+)= f(z_in(n,cols; rows ldz apart))^T dz, some columns at a time to read whole rows
 *                    and in four interleaved sums */
#if VBYTES == 64
#define SINGLE_VECTORS 4 /* 16 sums of 32 registers */
#else
#define SINGLE_VECTORS 2
#endif
#define SINGLE(name)                                                                                    \
    static void FN(single_forward_##name)(void *z_, const void *z_in, const void *W_, const void *b,    \
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
    static void FN(single_input_grad_##name)(void *dz_in, const void *z_in, const void *W, const void *dz, \
                                             int64_t ld, int64_t n, int64_t r0, int64_t r1, int in) {   \
        REAL w[NR] __attribute__((aligned(64))), row[NR] __attribute__((aligned(64)));                  \
        for (int j = 0; j < in; j += NR) {                                                              \
            REAL *restrict to = (REAL *)dz_in + j * n + r0 * NR;                                        \
            FN(load_row)(w, (const REAL *)W + j, in - j);                                               \
            for (int64_t r = r0; r < r1; r++, to += NR) {                                               \
                const REAL *restrict z = (const REAL *)z_in + r * in + j;                               \
                const REAL d = ((const REAL *)dz)[r * ld];                                              \
                if (in - j < NR) {                                                                      \
                    FN(load_row)(row, z, in - j);                                                       \
                    z = row;                                                                            \
                }                                                                                       \
                FBP_IVDEP for (int k = 0; k < NR; k++) to[k] = FN(name##_d)(d * w[k], z[k]);            \
            }                                                                                           \
        }                                                                                               \
    }                                                                                                   \
    static inline __attribute__((always_inline)) void FN(single_columns_##name)(                        \
        const int nv, REAL *dW, const REAL *dz, int64_t ld, const REAL *x, int64_t ldz, int64_t n,      \
        int cols, int accumulate) {                                                                     \
        FN(vec) acc[SINGLE_VECTORS][4] = {{{0}}};                                                       \
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
    static void FN(single_grad_##name)(void *dW, const void *dz, int64_t ld, const void *z_in,          \
                                       int64_t ldz, int64_t n, int cols, int accumulate) {              \
        enum { GROUP = SINGLE_VECTORS * LANES };                                                        \
        const REAL *x = z_in;                                                                           \
        int i = 0;                                                                                      \
        for (; i + GROUP <= cols; i += GROUP)                                                           \
            FN(single_columns_##name)(SINGLE_VECTORS, (REAL *)dW + i, dz, ld, x + i, ldz, n, GROUP, accumulate); \
        for (; i < cols; i += LANES)                                                                    \
            FN(single_columns_##name)(1, (REAL *)dW + i, dz, ld, x + i, ldz, n, cols - i, accumulate);  \
    }
FBP_ACTIVATIONS(SINGLE)
#undef SINGLE
#undef SINGLE_VECTORS
