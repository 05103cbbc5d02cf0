/* Elementwise kernels: activations, gathering, sums. Included by template.h. */

static inline REAL FN(identity_f)(REAL z) { return z; }
static inline REAL FN(identity_d)(REAL d, REAL z) { return (void)z, d; }
static inline REAL FN(logistic_f)(REAL z) { return FN(logistic)(z); }
static inline REAL FN(logistic_d)(REAL d, REAL z) {
    REAL a = FN(logistic)(z);
    return d * (a * (1 - a));
}
static inline REAL FN(tanh_f)(REAL z) { return FN(tanh)(z); }
static inline REAL FN(tanh_d)(REAL d, REAL z) {
    REAL a = FN(tanh)(z);
    return d * (1 - a * a);
}
static inline REAL FN(relu_f)(REAL z) { return z < 0 ? 0 : z; } /* NaN stays */
static inline REAL FN(relu_d)(REAL d, REAL z) { return z <= 0 ? 0 : d; }

/* activated: f of the first `count` numbers at z, as a vector padded with f(0); derived: d f' of them. */
#define ACTIVATION(name)                                                                                          \
    static inline __attribute__((always_inline)) FN(vec) FN(activated_##name)(const REAL *z, int count) {         \
        REAL x[LANES] __attribute__((aligned(64)));                                                               \
        AT(x, 0) = FN(get)(z, count);                                                                             \
        FBP_IVDEP for (int j = 0; j < LANES; j++) x[j] = FN(name##_f)(x[j]);                                      \
        return AT(x, 0);                                                                                          \
    }                                                                                                             \
    static inline __attribute__((always_inline)) FN(vec)                                                          \
        FN(derived_##name)(FN(vec) d, const REAL *z, int count) {                                                 \
        REAL x[LANES] __attribute__((aligned(64))), dx[LANES] __attribute__((aligned(64)));                       \
        AT(x, 0) = FN(get)(z, count);                                                                             \
        AT(dx, 0) = d;                                                                                            \
        FBP_IVDEP for (int j = 0; j < LANES; j++) dx[j] = FN(name##_d)(dx[j], x[j]);                              \
        return AT(dx, 0);                                                                                         \
    }                                                                                                             \
    static void FN(act_##name)(void *a, const void *z_, int64_t ldz, int64_t n, int cols) {                       \
        for (int64_t r = 0; r < n; r++) {                                                                         \
            const REAL *z = (const REAL *)z_ + r * ldz;                                                           \
            for (int j = 0; j < cols; j += LANES)                                                                 \
                FN(put)((REAL *)a + r * cols + j, FN(activated_##name)(z + j, cols - j), cols - j);               \
        }                                                                                                         \
    }                                                                                                             \
    static void FN(derive_##name)(void *dz_, int64_t ld, const void *z_, int64_t ldz, int64_t n, int cols) {      \
        for (int64_t r = 0; r < n; r++) {                                                                         \
            REAL *dz = (REAL *)dz_ + r * ld;                                                                      \
            const REAL *z = (const REAL *)z_ + r * ldz;                                                           \
            for (int j = 0; j < cols; j += LANES)                                                                 \
                FN(put)(dz + j, FN(derived_##name)(FN(get)(dz + j, cols - j), z + j, cols - j), cols - j);        \
        }                                                                                                         \
    }
FBP_ACTIVATIONS(ACTIVATION)
#undef ACTIVATION

/* Is every number finite, as it is or when it becomes a float? Adding one to the bits of an exponent that is all ones
 * carries into the sign. Integers, because arithmetic on denormals would be slow. */
#define ALL_FINITE(name, TYPE, BITS, mantissa)                                                              \
    static inline BITS FN(name##_bits)(REAL x) {                                                            \
        const BITS one = (BITS)1 << (mantissa), exponent = ((BITS)1 << (8 * sizeof(TYPE) - 1)) - one;       \
        TYPE number = (TYPE)x;                                                                              \
        BITS bits;                                                                                          \
        memcpy(&bits, &number, sizeof bits);                                                                \
        return (bits & exponent) + one;                                                                     \
    }                                                                                                       \
    static int FN(name)(const void *x_, int64_t count, int64_t stride) {                                    \
        const REAL *x = x_;                                                                                 \
        BITS found = 0;                                                                                     \
        if (stride == (int64_t)sizeof(REAL)) {                                                              \
            for (int64_t i = 0; i < count; i++) found |= FN(name##_bits)(x[i]);                             \
        } else {                                                                                            \
            for (int64_t i = 0; i < count; i++)                                                             \
                found |= FN(name##_bits)(*(const REAL *)(const void *)((const char *)x_ + i * stride));     \
        }                                                                                                   \
        return !(found >> (8 * sizeof(TYPE) - 1));                                                          \
    }
ALL_FINITE(all_finite_f32, float, uint32_t, 23)
#ifdef FBP_IS_F32
#define ALL_FINITE_F64 NULL
#else
ALL_FINITE(all_finite_f64, double, uint64_t, 52)
#define ALL_FINITE_F64 FN(all_finite_f64)
#endif
#undef ALL_FINITE

/* Rows are prefetched some ahead; narrow ones of the net's own dtype are one vector each where parts are cheap. */
#define GATHER(SOURCE)                                                                                      \
    for (int64_t i = 0; i < n; i++) {                                                                       \
        const char *row = base + (order ? order[i] : i) * from->row_stride;                                 \
        if (i + FBP_GATHER_AHEAD < n) {                                                                     \
            const char *next = base + (order ? order[i + FBP_GATHER_AHEAD] : i + FBP_GATHER_AHEAD) * from->row_stride; \
            for (int64_t k = 0; k < width * (int64_t)sizeof(SOURCE) && k < FBP_GATHER_BYTES; k += 64)       \
                __builtin_prefetch(next + k);                                                               \
        }                                                                                                   \
        REAL *x = (REAL *)to + i * width;                                                                   \
        if (from->col_stride == (int64_t)sizeof(SOURCE)) {                                                  \
            const SOURCE *s = (const SOURCE *)row;                                                          \
            if (FBP_PARTS && sizeof(SOURCE) == sizeof(REAL) && width <= LANES)                                  \
                FN(store_part)(x, FN(load_part)((const REAL *)(const void *)s, width), width);              \
            else                                                                                            \
                FBP_IVDEP for (int j = 0; j < width; j++) x[j] = (REAL)s[j];                                \
        } else {                                                                                            \
            for (int j = 0; j < width; j++) x[j] = (REAL)*(const SOURCE *)(row + j * from->col_stride);     \
        }                                                                                                   \
    }
static void FN(gather)(void *to, const fbp_strided *from, const int64_t *order, int64_t first, int64_t n, int width) {
    const char *base = from->data;
    order = order ? order + first : NULL;
    base += order ? 0 : first * from->row_stride;
    if (from->dtype == FBP_F32) {
        GATHER(float)
    } else if (from->dtype == FBP_F64) {
        GATHER(double)
    } else {
        GATHER(uint8_t)
    }
}
#undef GATHER

/* in four interleaved sums, a vector of columns at a time */
static void FN(column_sums)(void *sums_, const void *x_, int64_t ld, int64_t n, int cols, int accumulate) {
    for (int j = 0; j < cols; j += LANES) {
        REAL *sums = (REAL *)sums_ + j;
        const REAL *x = (const REAL *)x_ + j;
        FN(vec) acc[4] = {{0}, {0}, {0}, {0}};
        int64_t i = 0;
        for (; i + 4 <= n; i += 4)
            EACH(q, 4) acc[q] += FN(get)(x + (i + q) * ld, cols - j);
        for (; i < n; i++) acc[0] += FN(get)(x + i * ld, cols - j);
        acc[0] = (acc[0] + acc[1]) + (acc[2] + acc[3]);
        if (accumulate) acc[0] += FN(load_part)(sums, cols - j);
        FN(store_part)(sums, acc[0], cols - j);
    }
}

/* The sum of a vector's numbers in double, in four chains */
static inline double FN(sum_lanes)(FN(vec) v) {
    REAL x[LANES];
    double sum[4] = {0};
    memcpy(x, &v, sizeof v);
    for (int k = 0; k < LANES; k++) sum[k % 4] += (double)x[k];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* in REAL within blocks, in double across them */
static double FN(square_sum)(const void *p_, int64_t count) {
    const REAL *p = p_;
    double total = 0;
    for (int64_t start = 0; start < count; start += FBP_L1_NUMBERS) {
        int64_t end = count - start < FBP_L1_NUMBERS ? count : start + FBP_L1_NUMBERS, i = start;
        FN(vec) acc = {0};
        for (; i + LANES <= end; i += LANES) {
            FN(vec) v;
            memcpy(&v, p + i, sizeof v);
            acc += v * v;
        }
        for (; i < end; i++) total += (double)p[i] * (double)p[i];
        total += FN(sum_lanes)(acc);
    }
    return total;
}
