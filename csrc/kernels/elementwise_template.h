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

/* Of those below, the two sides of 0 differ; the derivative at 0 is that of the negative side, as in PyTorch. */
static inline REAL FN(leaky_relu_f)(REAL z) { return z > 0 ? z : (REAL)0.01 * z; }
static inline REAL FN(leaky_relu_d)(REAL d, REAL z) { return z > 0 ? d : (REAL)0.01 * d; }
/* The same of vectors, where the arithmetic is long. What is 0 for one sign of z is added, instead of a choice. */
static inline FN(vec) FN(elu_f)(FN(vec) z) { return FN(at_least)(0, z) + FN(expm1_negative)(FN(at_most)(0, z)); }
static inline FN(vec) FN(elu_d)(FN(vec) d, FN(vec) z) {
    return d * FN(exp_by)(FN(at_least)(NORMAL_MIN, FN(at_most)(0, z)), 0);
}
#define SELU_SCALE ((REAL)1.0507009873554804934193349852946)
#define SELU_NEGATIVE ((REAL)(1.0507009873554804934193349852946 * 1.6732632423543772848170429916717)) /* scale alpha */
static inline FN(vec) FN(selu_f)(FN(vec) z) {
    return SELU_SCALE * FN(at_least)(0, z) + SELU_NEGATIVE * FN(expm1_negative)(FN(at_most)(0, z));
}
static inline FN(vec) FN(selu_d)(FN(vec) d, FN(vec) z) {
    FN(vec) slope = SELU_NEGATIVE * FN(exp_by)(FN(at_least)(NORMAL_MIN, FN(at_most)(0, z)), 0);
    return d * (FN(if_positive)(z, SELU_SCALE - (FN(vec)){0}) + FN(unless_positive)(z, slope));
}
#undef SELU_SCALE
#undef SELU_NEGATIVE

/* z Phi(z), Phi the normal distribution function; with u = |z| it is max(z, 0) - u Phi(-u), and its derivative Phi(z) +
 * z phi(z) is that of -u, or 1 less it. */
static inline FN(vec) FN(gelu_f)(FN(vec) z) {
    FN(vec) u = FN(at_most)(TAIL_MAX, FN(abs)(z)), uu = u * u;
    FN(vec) scaled = FN(quotient)(u * FN(tail_numerator)(u, uu), FN(tail_denominator)(u, uu));
    return FN(at_least)(0, z) - scaled * FN(tail_density)(u, uu);
}
static inline FN(vec) FN(gelu_d)(FN(vec) d, FN(vec) z) {
    const REAL c = FN(from_bits)((FN(bits))(EXPONENT_BIAS - TAIL_SCALE) << MANTISSA) * (REAL)0.39894228040143267794;
    FN(vec) u = FN(at_most)(TAIL_MAX, FN(abs)(z)), uu = u * u;   /* c = 1 / sqrt(2 pi), scaled as the numerator */
    FN(vec) scaled = FN(quotient)(FN(tail_numerator)(u, uu), FN(tail_denominator)(u, uu)) - c * u;
    FN(vec) minus = FN(if_positive)(z, -(REAL)0 - (FN(vec)){0}); /* -0: a sign */
    FN(vec) slope = (FN(vec))((FN(bits_of))(scaled * FN(tail_density)(u, uu)) ^ (FN(bits_of))minus);
    return d * (FN(if_positive)(z, 1 - (FN(vec)){0}) + slope);
}

/* Below, 2^scale keeps exp(z) a normal number as long as z exp(z) is one. */

/* z s, s = 1 / (1 + exp(-z)); the derivative is s (1 + z (1 - s)) */
static inline FN(vec) FN(silu_f)(FN(vec) z) {
    const REAL one = FN(from_bits)((FN(bits))(EXPONENT_BIAS - TINY_SCALE) << MANTISSA); /* 1, scaled */
    FN(vec) bounded = FN(at_least)(TINY_MIN, z);
    return FN(quotient)(one * bounded, one + FN(exp_by)(-FN(at_most)(-NORMAL_MIN / 2, bounded), -TINY_SCALE));
}
static inline FN(vec) FN(silu_d)(FN(vec) d, FN(vec) z) {
    const REAL one = FN(from_bits)((FN(bits))(EXPONENT_BIAS - TINY_SCALE) << MANTISSA);
    FN(vec) bounded = FN(at_most)(-NORMAL_MIN / 2, FN(at_least)(TINY_MIN, z));
    FN(vec) e = FN(exp_by)(-bounded, -TINY_SCALE), inverse = FN(quotient)(1 - (FN(vec)){0}, one + e);
    return d * (one * inverse * (1 + bounded * (e * inverse)));
}

/* z tanh(log(1 + e)), e = exp(z), which is z n / (n + 2) with n = e (e + 2); the derivative is n / (n + 2) +
 * 4 z e (1 + e) / (n + 2)^2. In the code e is times one = 2^TINY_SCALE, and n and n + 2 are times its square. */
static inline FN(vec) FN(mish_f)(FN(vec) z) {
    const REAL one = FN(from_bits)((FN(bits))(EXPONENT_BIAS + TINY_SCALE) << MANTISSA);
    FN(vec) bounded = FN(at_least)(TINY_MIN, z), e = FN(exp_by)(FN(at_most)(2 * TANH_MAX, bounded), TINY_SCALE);
    FN(vec) n = e * (e + 2 * one);
    return FN(quotient)(bounded, n + 2 * one * one) * n;
}
static inline FN(vec) FN(mish_d)(FN(vec) d, FN(vec) z) {
    const REAL one = FN(from_bits)((FN(bits))(EXPONENT_BIAS + TINY_SCALE) << MANTISSA);
    FN(vec) bounded = FN(at_most)(2 * TANH_MAX, FN(at_least)(TINY_MIN, z)), e = FN(exp_by)(bounded, TINY_SCALE);
    FN(vec) n = e * (e + 2 * one), inverse = FN(quotient)(1 - (FN(vec)){0}, n + 2 * one * one);
    return d * (inverse * (n + 4 * one * one * inverse * (bounded * (e * (e + one)))));
}

/* log(1 + exp(z)); the derivative is 1 / (1 + exp(-z)) */
static inline FN(vec) FN(softplus_f)(FN(vec) z) { return FN(at_least)(0, z) + FN(log1p_exp)(-FN(abs)(z)); }
static inline FN(vec) FN(softplus_d)(FN(vec) d, FN(vec) z) {
    FN(vec) bounded = FN(at_most)(-NORMAL_MIN, FN(at_least)(NORMAL_MIN, z));
    return FN(quotient)(d, 1 + FN(exp_by)(-bounded, 0));
}

/* activated: f of the first `count` numbers at z, as a vector padded with f(0); derived: d f' of them. */
#define SHORT_ACTIVATION(name)                                                                                    \
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
    }
#define LONG_ACTIVATION(name)                                                                                     \
    static inline __attribute__((always_inline)) FN(vec) FN(activated_##name)(const REAL *z, int count) {         \
        return FN(name##_f)(FN(get)(z, count));                                                                   \
    }                                                                                                             \
    static inline __attribute__((always_inline)) FN(vec)                                                          \
        FN(derived_##name)(FN(vec) d, const REAL *z, int count) {                                                 \
        return FN(name##_d)(d, FN(get)(z, count));                                                                \
    }
FBP_SHORT_ACTIVATIONS(SHORT_ACTIVATION)
FBP_LONG_ACTIVATIONS(LONG_ACTIVATION)
#undef SHORT_ACTIVATION
#undef LONG_ACTIVATION

#define ACTIVATION(name)                                                                                          \
    static FBP_NOINLINE void FN(act_##name)(void *a, const void *z_, int64_t ldz, int64_t n, int cols) {          \
        for (int64_t r = 0; r < n; r++) {                                                                         \
            const REAL *z = (const REAL *)z_ + r * ldz;                                                           \
            for (int j = 0; j < cols; j += LANES)                                                                 \
                FN(put)((REAL *)a + r * cols + j, FN(activated_##name)(z + j, cols - j), cols - j);               \
        }                                                                                                         \
    }                                                                                                             \
    static FBP_NOINLINE void FN(derive_##name)(void *dz_, int64_t ld, const void *z_, int64_t ldz, int64_t n,     \
                                               int cols) {                                                        \
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

static void FN(scale)(void *x_, int64_t count, double factor) {
    REAL *x = x_;
    for (int64_t i = 0; i < count; i++) x[i] *= (REAL)factor;
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

static double FN(square_sum_in_double)(const void *p_, int64_t count) {
    const REAL *p = p_;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)p[i] * (double)p[i];
    return sum;
}
