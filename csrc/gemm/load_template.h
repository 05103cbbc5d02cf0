/* A micro-panels: rows or columns of A with f applied, in the L1 cache, so a = f(z) never exists as a matrix. See
 * ukernel.h. Included by kernels/template.h. */

#define LOAD(name)                                                                                                \
    static void FN(load_rows_##name)(void *a, const void *z_, int64_t ldz, int m, int cols) {                     \
        for (int r = 0; r < m; r++) {                                                                             \
            const REAL *z = (const REAL *)z_ + r * ldz;                                                           \
            for (int j = 0; j < cols; j += NR)                                                                    \
                EACH(v, 2) AT((REAL *)a, r * FBP_KC + j + v * LANES) =                                            \
                    FN(activated_##name)(z + j + v * LANES, cols - j - v * LANES);                                \
        }                                                                                                         \
    }                                                                                                             \
    static void FN(load_columns_##name)(void *a, const void *z_, int64_t ldz, int64_t n, int cols) {              \
        const REAL *z = z_;                                                                                       \
        if (cols == AW)                                                                                           \
            for (int64_t i = 0; i < n; i++, z += ldz)                                                             \
                EACH(v, AW / LANES) AT((REAL *)a, i * AW + v * LANES) = FN(activated_##name)(z + v * LANES, LANES); \
        else                                                                                                      \
            for (int64_t i = 0; i < n; i++, z += ldz)                                                             \
                EACH(v, AW / LANES) AT((REAL *)a, i * AW + v * LANES) =                                           \
                    FN(activated_##name)(z + v * LANES, cols - v * LANES);                                        \
    }
FBP_ACTIVATIONS(LOAD)
#undef LOAD

static void FN(load_panels)(void *a, const void *panels, int64_t jump, int m, int cols) {
    for (int j = 0; j < cols; j += NR) {
        const REAL *from = (const REAL *)panels + j / NR * jump;
        for (int r = 0; r < m; r++)
            EACH(v, 2) AT((REAL *)a, r * FBP_KC + j + v * LANES) = AT((REAL *)from, r * NR + v * LANES);
    }
}

static void FN(load_columns_at)(void *a_, const void *const *rows, int64_t n, int64_t i0, int64_t i1, int64_t step,
                                int width) {
    for (int64_t r = 0; r < n; r++) {
        const REAL *x = rows[r];
        REAL *a = (REAL *)a_ + r * AW;
        for (int64_t i = i0; i < i1; i += step, a += n * AW) {
            int rest = (int)(width - i); /* what lies beyond the micro-panel is not used */
            EACH(v, AW / LANES) AT(a, v * LANES) = FN(get)(x + i + v * LANES, rest - v * LANES);
        }
    }
}
