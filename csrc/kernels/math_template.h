/* Numbers and vectors of REAL: parts of a vector, exp, tanh, log, the normal distribution. Branch-free, so that loops over them are
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
#define NORMAL_MIN (-87.5f) /* exp of it is less than the smallest normal number, and 2^n of it is none yet */
#define TINY_MIN (-93.5f)   /* 100 exp of it is no normal number, but 2^TINY_SCALE exp */
#define TINY_SCALE 8
#define TAIL_MAX 14.0f /* its normal distribution function is 0; exp(-TAIL_MAX^2 / 2) 2^TAIL_SCALE is a normal number */
#define TAIL_SCALE 16
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
#define NORMAL_MIN (-708.6)
#define TINY_MIN (-719.0)
#define TINY_SCALE 16
#define TAIL_MAX 38.0
#define TAIL_SCALE 64
#define HALF_BITS 27 /* the rest of the mantissa has at most half of its bits: its square is exact */
#endif
#define TERMS(table) ((int)(sizeof(table) / sizeof *(table)))

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

/* ---- What follows serves the activations whose arithmetic is long, a vector at a time; their x is bounded before, so
 * that a single factor 2^n does. ---- */

typedef FN(bits) FN(bits_of) __attribute__((vector_size(VBYTES)));

/* In each lane the larger (smaller) of the two; where x is NaN, NaN: the processor's instructions return the second. */
static inline FN(vec) FN(at_least)(REAL low, FN(vec) x) {
    FN(vec) limit = low - (FN(vec)){0};
#ifdef VEC_MAX
    return VEC_MAX(limit, x);
#else
    FN(bits_of) is_low = (FN(bits_of))(limit > x);
    return (FN(vec))((is_low & (FN(bits_of))limit) | (~is_low & (FN(bits_of))x));
#endif
}
static inline FN(vec) FN(at_most)(REAL high, FN(vec) x) {
    FN(vec) limit = high - (FN(vec)){0};
#ifdef VEC_MIN
    return VEC_MIN(limit, x);
#else
    FN(bits_of) is_high = (FN(bits_of))(limit < x);
    return (FN(vec))((is_high & (FN(bits_of))limit) | (~is_high & (FN(bits_of))x));
#endif
}
#define SIGN_BIT ((FN(bits))1 << (8 * sizeof(REAL) - 1))
static inline FN(vec) FN(abs)(FN(vec) x) { return (FN(vec))((FN(bits_of))x & ~SIGN_BIT); }
/* x where z > 0, 0 elsewhere; and y where it is not */
static inline FN(vec) FN(if_positive)(FN(vec) z, FN(vec) x) {
    return (FN(vec))((FN(bits_of))x & (FN(bits_of))(z > (FN(vec)){0}));
}
static inline FN(vec) FN(unless_positive)(FN(vec) z, FN(vec) y) {
    return (FN(vec))((FN(bits_of))y & ~(FN(bits_of))(z > (FN(vec)){0}));
}

/* a / b, at most 3 ulp: where the processor has an approximation of 1/b, by Newton's method; 0 if 1/b is less than the
 * smallest normal number */
static inline FN(vec) FN(quotient)(FN(vec) a, FN(vec) b) {
#ifdef VEC_RCP
    FN(vec) y = VEC_RCP(b);
    EACH(i, NEWTON_STEPS) y += y * (1 - b * y);
    return a * y;
#else
    return a / b;
#endif
}

/* table[0] + table[1] x + ..., xx = x^2: by pairs, because it is the length of the chain that costs time */
static inline FN(vec) FN(polynomial)(const REAL *table, int terms, FN(vec) x, FN(vec) xx) {
    FN(vec) sum = table[terms - 1] - (FN(vec)){0};
    if (terms % 2 == 0) sum = sum * x + table[terms - 2];
    FBP_UNROLL for (int k = (terms - 1) / 2 * 2 - 2; k >= 0; k -= 2) sum = sum * xx + (table[k + 1] * x + table[k]);
    return sum;
}

/* expm1(r) for |r| <= ln2/2 by a minimax polynomial (relative error float 2e-8, double 2e-17): shorter chains than
 * those of expm1_poly, whose bits the older functions keep */
static inline FN(vec) FN(expm1_minimax)(FN(vec) r) {
    static const REAL table[] = {
#ifdef FBP_IS_F32
        4.99999981495e-1, 1.6666543423e-1, 4.16672007524e-2, 8.36654725543e-3, 1.38825140011e-3
#else
        5.0000000000000052003e-1,   1.6666666666666588981e-1,   4.1666666666576465033e-2,  8.3333333333897232732e-3,
        1.3888888931667862361e-3,   1.9841269718732590357e-4,   2.4801505141908041796e-5,  2.7557407667189943073e-6,
        2.7626093114402682509e-7,   2.5053781457265663349e-8
#endif
    };
    FN(vec) rr = r * r;
    return FN(polynomial)(table, TERMS(table), r, rr) * rr + r;
}

/* exp(r) for |r| <= ln2/2, relative error float 9e-8 */
static inline FN(vec) FN(exp_minimax)(FN(vec) r) {
#ifdef FBP_IS_F32
    static const REAL table[] = {1, 9.999997025e-1, 4.999914046e-1, 1.66676466e-1, 4.189916322e-2, 8.290084058e-3};
    return FN(polynomial)(table, TERMS(table), r, r * r);
#else
    return FN(expm1_minimax)(r) + 1;
#endif
}

/* n, the integer next to factor x / ln2, and the bits that raise the exponent of a number by n + scale when they are
 * added to it: to the smallest normal number or more, or else, where the exponent becomes that of 0, to less than it. A
 * shift leaves nothing but the low bits of a sum with ROUND_MAGIC. */
static inline FN(vec) FN(integer_power)(FN(vec) x, REAL factor, int scale, FN(bits_of) *raise) {
    REAL magic = ROUND_MAGIC + (REAL)scale;
    FN(vec) shifted = x * (factor * (REAL)1.44269504088896340736) + magic;
    *raise = (FN(bits_of))shifted << MANTISSA;
    return shifted - magic;
}
static inline FN(vec) FN(raised)(FN(vec) x, FN(bits_of) raise) { return (FN(vec))((FN(bits_of))x + raise); }

/* x - n ln2 */
static inline FN(vec) FN(remainder)(FN(vec) x, FN(vec) n) {
#if defined(VEC_FMA) && defined(FBP_IS_F32) /* the product is exact, and the float next to ln2 has 28 bits of it */
    return VEC_FMA(n, (REAL)-0.69314718055994530942 - (FN(vec)){0}, x);
#else
    return (x - n * LN2_HIGH) - n * LN2_LOW;
#endif
}

/* 2^scale exp(x), at most 3 ulp */
static inline FN(vec) FN(exp_by)(FN(vec) x, int scale) {
    FN(bits_of) raise;
    FN(vec) n = FN(integer_power)(x, 1, scale, &raise);
    return FN(raised)(FN(exp_minimax)(FN(remainder)(x, n)), raise);
}

/* expm1(x), x <= 0: no cancellation near 0 */
static inline FN(vec) FN(expm1_negative)(FN(vec) x) {
    x = FN(at_least)(-2 * TANH_MAX, x);
    FN(bits_of) raise;
    FN(vec) n = FN(integer_power)(x, 1, 0, &raise), power = FN(raised)(1 - (FN(vec)){0}, raise);
    return FN(expm1_minimax)(FN(remainder)(x, n)) * power + (power - 1);
}

/* log(1 + exp(x)), x <= 0: with t = exp(x) it is 2 atanh(s), s = t / (t + 2) <= 1/3, and that is s times a polynomial
 * in s^2 (minimax, within a tenth of an ulp) */
static inline FN(vec) FN(log1p_exp)(FN(vec) x) {
    static const REAL table[] = {
#ifdef FBP_IS_F32
        2, 6.666667931e-1, 3.999869097e-1, 2.862072112e-1, 2.139325543e-1, 2.441306600e-1
#else
        2,
        6.6666666666666683829e-1,
        3.9999999999992684375e-1,
        2.8571428572648636322e-1,
        2.2222222117246364708e-1,
        1.818182350073327772e-1,
        1.5384445006726024397e-1,
        1.3336911424842019578e-1,
        1.1714900125665149935e-1,
        1.0979132876824746649e-1,
        6.9708395351261587612e-2,
        1.6503938152534831532e-1
#endif
    };
    FN(vec) t = FN(exp_by)(FN(at_least)(NORMAL_MIN, x), 0), s = FN(quotient)(t, t + 2), ss = s * s;
    return s * FN(polynomial)(table, TERMS(table), ss, ss * ss);
}

/* The normal distribution below -u, 0 <= u <= TAIL_MAX, is exp(-u^2/2) N(u) / D(u): a minimax approximation (relative
 * error float 1.7e-7 (1 + u^2/16), double 5e-17) of the scaled complementary error function, whose coefficients are all
 * positive, so that nothing cancels. Lest there be denormals, tail_density, which is exp(-u^2/2), is times 2^TAIL_SCALE, and N is
 * times 2^-TAIL_SCALE. */
static inline FN(vec) FN(tail_numerator)(FN(vec) u, FN(vec) uu) {
    static const REAL table[] = {
#ifdef FBP_IS_F32
        7.629393263e-6, 5.364695604e-6, 1.732594575e-6, 2.384468867e-7
#else
        2.710505431213760953e-20, 4.197115024213768516e-20, 3.215284899544085155e-20, 1.564872727649564369e-20,
        5.280130978361447856e-21, 1.275639418789411911e-21, 2.206346109139125814e-22, 2.643419337072338566e-23,
        2.005813173037524218e-24, 7.450779157282850803e-26
#endif
    };
    return FN(polynomial)(table, TERMS(table), u, uu);
}
static inline FN(vec) FN(tail_denominator)(FN(vec) u, FN(vec) uu) {
    static const REAL table[] = {
#ifdef FBP_IS_F32
        1, 1.501036859, 9.248281898e-1, 2.84329365e-1, 3.917877535e-2
#else
        1, 2.346346694794708858, 2.558344555386891762, 1.711387929121285029, 7.80158112211556651e-1,
        2.541651103568959232e-1, 6.019986146938808267e-2, 1.029469956088214951e-2, 1.225739286546437379e-3,
        9.274705660313499474e-5, 3.445175480680497068e-6
#endif
    };
    return FN(polynomial)(table, TERMS(table), u, uu);
}
/* exp(-u^2/2). Of float it has the relative error of u^2 as it is rounded, u^2 2^-25. For double the remainder is
 * bettered by what -u^2/2 loses by rounding, which comes with a fused multiplication, or from the square of u's high
 * half, which is exact, and the difference to it. */
static inline FN(vec) FN(tail_density)(FN(vec) u, FN(vec) uu) {
    FN(bits_of) raise;
    FN(vec) n = FN(integer_power)(uu, (REAL)-0.5, TAIL_SCALE, &raise), x = (REAL)-0.5 * uu, r = FN(remainder)(x, n);
#if defined(FBP_IS_F32)
    (void)u;
#elif defined(VEC_FMA)
    r += VEC_FMA((REAL)-0.5 * u, u, -x);
#else
    FN(vec) high = (FN(vec))((FN(bits_of))u >> HALF_BITS << HALF_BITS), half = (REAL)0.5 * high;
    r += (-half * high - x) + (high - u) * ((REAL)0.5 * u + half);
#endif
    return FN(raised)(FN(exp_minimax)(r), raise);
}
