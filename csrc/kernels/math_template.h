/* Numbers and vectors of REAL: parts of a vector, exp, tanh, log. Branch-free, so that loops over them are
 * vectorised; no call into libm. Included by template.h. */

#ifdef FBP_IS_F32
typedef uint32_t FN(bits);
#define MANTISSA 23
#define EXPONENT_BIAS 127
#define ROUND_MAGIC 12582912.0f /* 1.5 * 2^23: adding it leaves the rounded integer in the low bits */
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440054690583e-4f)
#define EXP_MIN (-104.0f)
#define EXP_MAX 89.0f
#define TANH_MAX 10.0f
#define EXPM1_TERMS 7
#define ATANH_TERMS 5
#define SMALLEST FLT_MIN
#define LARGEST FLT_MAX
#define NEWTON_STEPS 1 /* doubles the 12 to 14 bits of the approximations */
#else
typedef uint64_t FN(bits);
#define MANTISSA 52
#define EXPONENT_BIAS 1023
#define ROUND_MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
#define LN2_HIGH 0.693147180369123816490
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_MIN (-746.0)
#define EXP_MAX 710.0
#define TANH_MAX 22.0
#define EXPM1_TERMS 13
#define ATANH_TERMS 12
#define SMALLEST DBL_MIN
#define LARGEST DBL_MAX
#define NEWTON_STEPS 2
#endif

typedef REAL FN(vec) __attribute__((vector_size(VBYTES)));
typedef REAL FN(loose) __attribute__((vector_size(VBYTES), aligned(sizeof(REAL)))); /* at any address */

/* The first `count` numbers as a vector padded with zeros, and back. Any count: 0 and less is none, LANES and
 * more is all. */
static inline int FN(lanes)(int count) { return count < 0 ? 0 : count > LANES ? LANES : count; }
static inline FN(vec) FN(load_part)(const REAL *from, int count) {
#ifdef VEC_LOAD_PART
    return VEC_LOAD_PART(from, FN(lanes)(count));
#else
    FN(vec) v = {0};
    memcpy(&v, from, (size_t)FN(lanes)(count) * sizeof(REAL));
    return v;
#endif
}
static inline void FN(store_part)(REAL *to, FN(vec) v, int count) {
#ifdef VEC_STORE_PART
    VEC_STORE_PART(to, v, FN(lanes)(count));
#else
    memcpy(to, &v, (size_t)FN(lanes)(count) * sizeof(REAL));
#endif
}

/* The same where a whole vector is the rule. */
static inline FN(vec) FN(get)(const REAL *from, int count) {
    return count >= LANES ? AT((REAL *)from, 0) : FN(load_part)(from, count);
}
static inline void FN(put)(REAL *to, FN(vec) v, int count) {
    if (count >= LANES)
        AT(to, 0) = v;
    else
        FN(store_part)(to, v, count);
}

static inline REAL FN(from_bits)(FN(bits) b) {
    REAL x;
    memcpy(&x, &b, sizeof x);
    return x;
}
static inline FN(bits) FN(to_bits)(REAL x) {
    FN(bits) b;
    memcpy(&b, &x, sizeof b);
    return b;
}

/* expm1(r) for |r| <= ln2/2 by its Taylor series, terms up to r^EXPM1_TERMS / EXPM1_TERMS!:
 * the rest is below a tenth of an ulp (float 5e-9, double 4e-18 of the value). */
static inline REAL FN(expm1_poly)(REAL r) {
    static const REAL inverse_factorial[] = {
        1,           1 / 2.0,      1 / 6.0,       1 / 24.0,       1 / 120.0,       1 / 720.0,       1 / 5040.0,
        1 / 40320.0, 1 / 362880.0, 1 / 3628800.0, 1 / 39916800.0, 1 / 479001600.0, 1 / 6227020800.0};
    REAL p = inverse_factorial[EXPM1_TERMS - 1];
    FBP_UNROLL for (int k = EXPM1_TERMS - 2; k >= 1; k--) p = p * r + inverse_factorial[k];
    return p * (r * r) + r;
}

/* x = n ln2 + r: returns r and the bits of n (biased by ROUND_MAGIC's) */
static inline REAL FN(reduce)(REAL x, FN(bits) *n_bits) {
    REAL shifted = x * (REAL)1.44269504088896340736 + ROUND_MAGIC;
    *n_bits = FN(to_bits)(shifted) - FN(to_bits)(ROUND_MAGIC);
    REAL n = shifted - ROUND_MAGIC;
    return (x - n * LN2_HIGH) - n * LN2_LOW;
}

/* exp(x), at most 2 ulp. 2^n in two factors, so that it overflows to inf and underflows to 0 as it should. */
static inline REAL FN(exp)(REAL x) {
    x = EXP_MIN > x ? EXP_MIN : x; /* NaN passes through both */
    x = EXP_MAX < x ? EXP_MAX : x;
    FN(bits) n;
    REAL p = FN(expm1_poly)(FN(reduce)(x, &n)) + 1;
    n += 4 * EXPONENT_BIAS; /* positive: logical shifts will do */
    FN(bits) half = n >> 1, rest = n - half;
    return p * FN(from_bits)((half - EXPONENT_BIAS) << MANTISSA) *
           FN(from_bits)((rest - EXPONENT_BIAS) << MANTISSA);
}

/* tanh(x) = em1 / (em1 + 2), em1 = expm1(2|x|): no cancellation near 0; at most 3 ulp */
static inline REAL FN(tanh)(REAL x) {
    REAL ax = x < 0 ? -x : x;
    ax = TANH_MAX < ax ? TANH_MAX : ax;
    FN(bits) n;
    REAL r = FN(reduce)(2 * ax, &n);
    REAL power = FN(from_bits)((n + EXPONENT_BIAS) << MANTISSA);
    REAL em1 = power * FN(expm1_poly)(r) + (power - 1);
    REAL t = em1 / (em1 + 2);
    return x < 0 ? -t : t;
}

static inline REAL FN(logistic)(REAL x) { return 1 / (1 + FN(exp)(-x)); }

/* log(x) of normal positive x: x = 2^e m, m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m-1)/(m+1)) */
static inline REAL FN(log)(REAL x) {
    FN(bits) one = FN(to_bits)((REAL)1), root = FN(to_bits)((REAL)0.70710678118654752440);
    FN(bits) shifted = FN(to_bits)(x) - root + one;
    FN(bits) e_biased = shifted >> MANTISSA;
    REAL m = FN(from_bits)(FN(to_bits)(x) - ((e_biased - EXPONENT_BIAS) << MANTISSA));
    /* integer to REAL without a conversion instruction, which AVX2 lacks for 64 bits */
    REAL two = FN(from_bits)((FN(bits))(EXPONENT_BIAS + MANTISSA) << MANTISSA);
    REAL e = FN(from_bits)(e_biased | FN(to_bits)(two)) - (two + EXPONENT_BIAS);
    REAL s = (m - 1) / (m + 1), s2 = s * s, p = (REAL)(1.0 / (2 * ATANH_TERMS - 1));
    FBP_UNROLL for (int k = ATANH_TERMS - 1; k >= 1; k--) p = p * s2 + (REAL)1 / (REAL)(2 * k - 1);
    return e * LN2_HIGH + (2 * s * p + e * LN2_LOW);
}

/* log(1 + t), t >= 0, with the rounding of 1 + t made good */
static inline REAL FN(log1p)(REAL t) {
    REAL u = 1 + t;
    return FN(log)(u) + (t - (u - 1)) / u;
}
