/* Every elementwise kernel, loss and update, once. Included per dtype and instruction set with
 *   REAL   float or double        FN(name)  the name with dtype and level appended
 *   VBYTES bytes of a vector      LEVEL     the level's name
 * Plain loops over contiguous memory that compilers vectorise; no call into libm inside them.
 * Rows are cut by shape alone, so remainders fall at the same places for any number of threads. */

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

#define LANES ((int)(VBYTES / sizeof(REAL)))
typedef REAL FN(vec) __attribute__((vector_size(VBYTES)));
typedef REAL FN(loose) __attribute__((vector_size(VBYTES), aligned(sizeof(REAL)))); /* at any address */

#define AT(p, i) (*(FN(loose) *)((p) + (i)))

/* The first `count` numbers as a vector padded with zeros, and back. Any count: 0 and less is none, LANES and
 * more is all. */
static inline int FN(lanes)(int count) { return count < 0 ? 0 : count > LANES ? LANES : count; }
#ifdef VEC_LOAD_PART
static inline FN(vec) FN(load_part)(const REAL *from, int count) {
    return VEC_LOAD_PART(from, FN(lanes)(count));
}
static inline void FN(store_part)(REAL *to, FN(vec) v, int count) { VEC_STORE_PART(to, v, FN(lanes)(count)); }
#else
static inline FN(vec) FN(load_part)(const REAL *from, int count) {
    FN(vec) v = {0};
    memcpy(&v, from, (size_t)FN(lanes)(count) * sizeof(REAL));
    return v;
}
static inline void FN(store_part)(REAL *to, FN(vec) v, int count) {
    memcpy(to, &v, (size_t)FN(lanes)(count) * sizeof(REAL));
}
#endif

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
    static const REAL inverse_factorial[] = {(REAL)1,
                                             (REAL)(1.0 / 2),
                                             (REAL)(1.0 / 6),
                                             (REAL)(1.0 / 24),
                                             (REAL)(1.0 / 120),
                                             (REAL)(1.0 / 720),
                                             (REAL)(1.0 / 5040),
                                             (REAL)(1.0 / 40320),
                                             (REAL)(1.0 / 362880),
                                             (REAL)(1.0 / 3628800),
                                             (REAL)(1.0 / 39916800),
                                             (REAL)(1.0 / 479001600),
                                             (REAL)(1.0 / 6227020800.0)};
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

/* ---- activations: a row of the table is f(z) and d * f'(z), both from z ------------------------ */

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

#define ACTIVATION(name)                                                                               \
    static void FN(act_##name)(void *a_, const void *z_, int64_t ldz, int64_t n, int cols) {           \
        for (int64_t r = 0; r < n; r++) {                                                              \
            REAL *restrict a = (REAL *)a_ + r * cols;                                                  \
            const REAL *restrict z = (const REAL *)z_ + r * ldz;                                       \
            FBP_IVDEP for (int j = 0; j < cols; j++) a[j] = FN(name##_f)(z[j]);                        \
        }                                                                                              \
    }                                                                                                  \
    static void FN(derive_##name)(void *dz_, int64_t ld, const void *z_, int64_t ldz, int64_t n,       \
                                  int cols) {                                                          \
        for (int64_t r = 0; r < n; r++) {                                                              \
            REAL *restrict dz = (REAL *)dz_ + r * ld;                                                  \
            const REAL *restrict z = (const REAL *)z_ + r * ldz;                                       \
            if (cols == 2 * LANES)                                                                     \
                FBP_IVDEP for (int j = 0; j < 2 * LANES; j++) dz[j] = FN(name##_d)(dz[j], z[j]);       \
            else                                                                                       \
                FBP_IVDEP for (int j = 0; j < cols; j++) dz[j] = FN(name##_d)(dz[j], z[j]);                      \
        }                                                                                              \
    }
FBP_ACTIVATIONS(ACTIVATION)
#undef ACTIVATION

static void FN(add_bias)(void *z_, const void *b_, int64_t n, int out) {
    const REAL *restrict b = b_;
    for (int64_t r = 0; r < n; r++) {
        REAL *restrict z = (REAL *)z_ + r * out;
        for (int j = 0; j < out; j++) z[j] += b[j];
    }
}

/* ---- gather ------------------------------------------------------------------------------------ */

#define GATHER_DENSE(SOURCE)                                                                           \
    for (int64_t i = 0; i < n; i++) {                                                                  \
        const char *row = (const char *)d->x + fbp_row_of(rows, i) * d->row_stride;                    \
        if (i + FBP_GATHER_AHEAD < n) {                                                                \
            const char *next = (const char *)d->x + fbp_row_of(rows, i + FBP_GATHER_AHEAD) * d->row_stride; \
            for (int64_t k = 0; k < width * (int64_t)sizeof(SOURCE) && k < 4096; k += 64)              \
                __builtin_prefetch(next + k);                                                          \
        }                                                                                              \
        REAL *x = (REAL *)x_ + i * width;                                                              \
        if (d->col_stride == (int64_t)sizeof(SOURCE)) {                                                \
            const SOURCE *s = (const SOURCE *)row;                                                     \
            FBP_IVDEP for (int j = 0; j < width; j++) x[j] = (REAL)s[j];                               \
        } else {                                                                                       \
            for (int j = 0; j < width; j++) x[j] = (REAL)*(const SOURCE *)(row + j * d->col_stride);   \
        }                                                                                              \
    }

#define GATHER_CSR(SOURCE, INDEX)                                                                      \
    for (int64_t i = 0; i < n; i++) {                                                                  \
        const INDEX *indptr = d->indptr, *column = d->indices;                                         \
        int64_t row = fbp_row_of(rows, i);                                                             \
        REAL *x = (REAL *)x_ + i * width;                                                              \
        memset(x, 0, (size_t)width * sizeof(REAL));                                                    \
        for (INDEX k = indptr[row]; k < indptr[row + 1]; k++) x[column[k]] += (REAL)((const SOURCE *)d->x)[k]; \
    }

static void FN(gather)(void *x_, const fbp_rows *rows, int64_t n, int width) {
    const fbp_data *d = rows->data;
    if (!d->csr && d->x_dtype == FBP_F32) {
        GATHER_DENSE(float)
    } else if (!d->csr) {
        GATHER_DENSE(double)
    } else if (d->wide_index && d->x_dtype == FBP_F32) {
        GATHER_CSR(float, int64_t)
    } else if (d->wide_index) {
        GATHER_CSR(double, int64_t)
    } else if (d->x_dtype == FBP_F32) {
        GATHER_CSR(float, int32_t)
    } else {
        GATHER_CSR(double, int32_t)
    }
}
#undef GATHER_DENSE
#undef GATHER_CSR

#define GATHER_TARGETS(SOURCE)                                                                         \
    for (int64_t i = 0; i < n; i++) {                                                                  \
        const SOURCE *s = (const SOURCE *)rows->data->y + fbp_row_of(rows, i) * out;                   \
        for (int j = 0; j < out; j++) y[i * out + j] = (REAL)s[j];                                     \
    }
static void FN(gather_targets)(void *y_, const fbp_rows *rows, int64_t n, int out) {
    REAL *y = y_;
    if (rows->data->y_dtype == FBP_F32) {
        GATHER_TARGETS(float)
    } else if (rows->data->y_dtype == FBP_F64) {
        GATHER_TARGETS(double)
    } else {
        GATHER_TARGETS(uint8_t)
    }
}
#undef GATHER_TARGETS

/* ---- losses: z -> dz = (a - y) w scale in place, and the weighted sum of the rows' losses ------ */

static inline double FN(weight_of)(const fbp_rows *rows, int64_t i) {
    return rows->data->weight ? rows->data->weight[fbp_row_of(rows, i)] : 1.0;
}

/* what clipping a probability to [eps, 1 - eps] makes of its -log */
static inline double FN(clipped)(double loss) {
    const double eps = sizeof(REAL) == 4 ? FLT_EPSILON : DBL_EPSILON;
    double low = -log1p(-eps), high = -log(eps);
    return loss < low ? low : loss > high ? high : loss;
}

static double FN(loss_squared_error)(void *z_, const void *y_, const fbp_rows *rows, int64_t n, int out) {
    REAL *restrict z = z_;
    const REAL *restrict y = y_;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        double w = FN(weight_of)(rows, i), sum = 0;
        REAL scale = (REAL)(w * rows->scale);
        for (int j = 0; j < out; j++) {
            REAL e = z[i * out + j] - y[i * out + j];
            sum += 0.5 * (double)e * (double)e;
            z[i * out + j] = e * scale;
        }
        total += w * sum;
    }
    return total;
}

/* each row less its maximum (or NaN if it has one) */
static void FN(shift_rows)(REAL *z, int64_t n, int out) {
    for (int64_t i = 0; i < n; i++) {
        REAL *row = z + i * out, max = row[0];
        for (int j = 1; j < out; j++) max = row[j] > max ? row[j] : max;
        for (int j = 0; j < out; j++) row[j] -= max;
    }
}

#ifdef VEC_MAX_OF
/* Labels of no more classes than a vector has numbers: a row is a vector, padded with exp(-inf). */
static double FN(loss_few_classes)(REAL *z_, const int32_t *label, const fbp_rows *rows, int64_t n, int out) {
    double total = 0;
    for (int64_t i0 = 0; i0 < n; i0 += FBP_LOSS_BLOCK) {
        int m = n - i0 < FBP_LOSS_BLOCK ? (int)(n - i0) : FBP_LOSS_BLOCK;
        REAL *z = z_ + i0 * out, x[FBP_LOSS_BLOCK * LANES] __attribute__((aligned(64)));
        REAL linear[FBP_LOSS_BLOCK], sum[FBP_LOSS_BLOCK], log_sum[FBP_LOSS_BLOCK];
        int hit[FBP_LOSS_BLOCK];
        for (int i = 0; i < m; i++) {
            FN(vec) row = VEC_LOAD_OR(-(REAL)INFINITY, z + i * out, out);
            AT(x, i * LANES) = row - VEC_MAX_OF(row);
            hit[i] = i * LANES + label[fbp_row_of(rows, i0 + i)];
        }
        for (int i = 0; i < m; i++) linear[i] = x[hit[i]];
        FBP_IVDEP for (int k = 0; k < m * LANES; k++) x[k] = FN(exp)(x[k]);
        for (int i = 0; i < m; i++) sum[i] = VEC_SUM_OF(AT(x, i * LANES));
        for (int i = 0; i < m; i++) log_sum[i] = FN(log)(sum[i]);
        for (int i = 0; i < m; i++) x[hit[i]] -= sum[i];
        for (int i = 0; i < m; i++) {
            double w = FN(weight_of)(rows, i0 + i), loss = (double)log_sum[i] - (double)linear[i];
            REAL factor = (REAL)(w * rows->scale) / sum[i];
            FN(store_part)(z + i * out, AT(x, i * LANES) * factor, out);
            total += w * (rows->clip ? FN(clipped)(loss) : loss);
        }
    }
    return total;
}
#endif

static double FN(loss_log_loss)(void *z_, const void *y_, const fbp_rows *rows, int64_t n, int out) {
    const int32_t *label = rows->data->y_dtype == FBP_I32 ? rows->data->y : NULL;
    const REAL *restrict y = y_;
    double total = 0;
#ifdef VEC_MAX_OF
    if (label && out <= LANES)
        return FN(loss_few_classes)(z_, label, rows, n, out);
#endif
    FN(shift_rows)(z_, n, out);
    for (int64_t i0 = 0; i0 < n; i0 += FBP_LOSS_BLOCK) {
        int64_t m = n - i0 < FBP_LOSS_BLOCK ? n - i0 : FBP_LOSS_BLOCK;
        REAL *z = (REAL *)z_ + i0 * out;
        double linear[FBP_LOSS_BLOCK], mass[FBP_LOSS_BLOCK]; /* sum_j y_j z_j and sum_j y_j */
        for (int64_t i = 0; i < m; i++) {
            linear[i] = 0;
            mass[i] = 1;
            if (label) {
                linear[i] = (double)z[i * out + label[fbp_row_of(rows, i0 + i)]];
            } else {
                mass[i] = 0;
                for (int j = 0; j < out; j++) {
                    REAL t = y[(i0 + i) * out + j];
                    mass[i] += (double)t;
                    if (t != 0)
                        linear[i] += (double)t * (double)z[i * out + j];
                }
            }
        }
        REAL sum[FBP_LOSS_BLOCK], log_sum[FBP_LOSS_BLOCK];
        FBP_IVDEP for (int64_t k = 0; k < m * out; k++) z[k] = FN(exp)(z[k]);
        for (int64_t i = 0; i < m; i++) {
            sum[i] = 0;
            for (int j = 0; j < out; j++) sum[i] += z[i * out + j];
        }
        for (int64_t i = 0; i < m; i++) log_sum[i] = FN(log)(sum[i]);
        for (int64_t i = 0; i < m; i++) {
            double w = FN(weight_of)(rows, i0 + i);
            double loss = mass[i] * (double)log_sum[i] - linear[i];
            REAL *row = z + i * out, scale = (REAL)(w * rows->scale), inverse = 1 / sum[i];
            if (label) {
                for (int j = 0; j < out; j++) row[j] = row[j] * inverse * scale;
                row[label[fbp_row_of(rows, i0 + i)]] -= scale;
            } else {
                const REAL *t = y + (i0 + i) * out;
                REAL total_mass = (REAL)mass[i];
                for (int j = 0; j < out; j++) row[j] = (row[j] * inverse * total_mass - t[j]) * scale;
            }
            total += w * (rows->clip ? FN(clipped)(loss) : loss);
        }
    }
    return total;
}

static double FN(loss_binary_log_loss)(void *z_, const void *y_, const fbp_rows *rows, int64_t n, int out) {
    const REAL *restrict y = y_;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict row = (REAL *)z_ + i * out;
        double w = FN(weight_of)(rows, i), sum = 0;
        REAL scale = (REAL)(w * rows->scale);
        for (int j0 = 0; j0 < out; j0 += FBP_LOSS_BLOCK) {
            int m = out - j0 < FBP_LOSS_BLOCK ? out - j0 : FBP_LOSS_BLOCK;
            REAL loss[FBP_LOSS_BLOCK];
            FBP_IVDEP for (int j = 0; j < m; j++) {
                REAL z = row[j0 + j], t = y[i * out + j0 + j];
                REAL e = FN(exp)(z < 0 ? z : -z); /* exp(-|z|) */
                REAL a = (z < 0 ? e : (REAL)1) / (1 + e);
                loss[j] = FN(log1p)(e) + ((z < 0 ? 0 : z) - t * z);
                row[j0 + j] = (a - t) * scale;
            }
            for (int j = 0; j < m; j++) sum += rows->clip ? FN(clipped)((double)loss[j]) : (double)loss[j];
        }
        total += w * sum;
    }
    return total;
}

static double FN(loss_poisson)(void *z_, const void *y_, const fbp_rows *rows, int64_t n, int out) {
    const REAL *restrict y = y_;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict row = (REAL *)z_ + i * out;
        double w = FN(weight_of)(rows, i), sum = 0;
        REAL scale = (REAL)(w * rows->scale);
        for (int j = 0; j < out; j++) {
            REAL z = row[j], t = y[i * out + j], a = FN(exp)(z);
            double deviance = (double)a - (double)t - (double)t * (double)z;
            sum += t > 0 ? deviance + (double)t * log((double)t) : deviance;
            row[j] = (a - t) * scale;
        }
        total += w * sum;
    }
    return total;
}

/* ---- output activations (prediction) ------------------------------------------------------------ */

static void FN(output_squared_error)(void *z, int64_t n, int out) { (void)z, (void)n, (void)out; }

static void FN(output_log_loss)(void *z_, int64_t n, int out) {
    REAL *z = z_;
    FN(shift_rows)(z, n, out);
    FBP_IVDEP for (int64_t k = 0; k < n * out; k++) z[k] = FN(exp)(z[k]);
    for (int64_t i = 0; i < n; i++) {
        REAL *row = z + i * out, sum = 0;
        for (int j = 0; j < out; j++) sum += row[j];
        REAL inverse = 1 / sum;
        for (int j = 0; j < out; j++) row[j] *= inverse;
    }
}
static void FN(output_binary_log_loss)(void *z_, int64_t n, int out) {
    REAL *z = z_;
    FBP_IVDEP for (int64_t k = 0; k < n * out; k++) z[k] = FN(logistic)(z[k]);
}
static void FN(output_poisson)(void *z_, int64_t n, int out) {
    REAL *z = z_;
    FBP_IVDEP for (int64_t k = 0; k < n * out; k++) z[k] = FN(exp)(z[k]);
}

/* ---- sums and updates ---------------------------------------------------------------------------- */

static void FN(column_sums)(void *db_, const void *dz_, int64_t n, int out, int j0, int j1, int accumulate) {
    REAL *restrict db = db_;
    const REAL *restrict dz = dz_;
    if (!accumulate)
        for (int j = j0; j < j1; j++) db[j] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int j = j0; j < j1; j++) db[j] += dz[i * out + j];
}

/* The sum of a vector's numbers in double, in four chains */
static inline double FN(sum_lanes)(FN(vec) v) {
    REAL x[LANES];
    double sum[4] = {0};
    memcpy(x, &v, sizeof v);
    for (int k = 0; k < LANES; k++) sum[k % 4] += (double)x[k];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* in REAL within blocks of 1024, in double across them */
static double FN(square_sum)(const void *p_, int64_t count) {
    const REAL *p = p_;
    double total = 0;
    for (int64_t start = 0; start < count; start += 1024) {
        int64_t end = count - start < 1024 ? count : start + 1024, i = start;
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

/* Runs BODY over i, in chunks that stay in the L1 cache between the sum of squares and the update. */
#define UPDATE(name, BODY)                                                                             \
    static double FN(update_##name)(void *p_, void *g_, void *s1_, void *s2_, int64_t count,           \
                                    const fbp_update *u) {                                             \
        const REAL alpha = (REAL)u->alpha, rate = (REAL)u->rate, momentum = (REAL)u->momentum;         \
        const REAL b1 = (REAL)u->beta_1, b2 = (REAL)u->beta_2, epsilon = (REAL)u->epsilon;             \
        const REAL c1 = (REAL)(1 - u->beta_1), c2 = (REAL)(1 - u->beta_2);                             \
        double squares = 0;                                                                            \
        (void)rate, (void)momentum, (void)b1, (void)b2, (void)c1, (void)c2, (void)epsilon;             \
        for (int64_t start = 0; start < count; start += 1024) {                                        \
            int m = count - start < 1024 ? (int)(count - start) : 1024;                                \
            REAL *restrict p = (REAL *)p_ + start, *restrict g = (REAL *)g_ + start;                   \
            REAL *restrict s1 = s1_ ? (REAL *)s1_ + start : NULL;                                      \
            REAL *restrict s2 = s2_ ? (REAL *)s2_ + start : NULL;                                      \
            (void)s1, (void)s2;                                                                        \
            if (u->alpha > 0)                                                                          \
                squares += FN(square_sum)(p, m);                                                       \
            for (int i = 0; i < m; i++) {                                                              \
                REAL grad = g[i] + alpha * p[i];                                                       \
                BODY                                                                                   \
            }                                                                                          \
        }                                                                                              \
        return squares;                                                                                \
    }

UPDATE(none, { g[i] = grad; })
/* v = momentum v - rate g; p += v (Nesterov: p += momentum v - rate g) */
UPDATE(sgd, {
    REAL v = momentum * s1[i] - rate * grad;
    s1[i] = v;
    p[i] += v;
})
UPDATE(nesterov, {
    REAL v = momentum * s1[i] - rate * grad;
    s1[i] = v;
    p[i] += momentum * v - rate * grad;
})
/* Kingma and Ba (2014), algorithm 1 with both bias corrections in the rate */
#ifndef VEC_RSQRT
UPDATE(adam, {
    REAL m1 = b1 * s1[i] + c1 * grad;
    REAL v1 = b2 * s2[i] + c2 * (grad * grad);
    s1[i] = m1;
    s2[i] = v1;
    p[i] -= rate * m1 / (FBP_SQRT(v1) + epsilon);
})
#else
/* The same with the processor's approximations of 1/sqrt and 1/x, bettered by Newton's method
 * to about 2 ulp: half the time of its square root and division while the vectors are in cache. */
static inline FN(vec) FN(adam_vector)(REAL *p, const REAL *g, REAL *s1, REAL *s2, REAL alpha, REAL rate, REAL b1,
                                   REAL b2, REAL c1, REAL c2, REAL epsilon) {
    FN(vec) x = *(FN(loose) *)p, grad = *(const FN(loose) *)g + alpha * x;
    FN(vec) m1 = b1 * *(FN(loose) *)s1 + c1 * grad;
    FN(vec) v1 = b2 * *(FN(loose) *)s2 + c2 * (grad * grad);
    *(FN(loose) *)s1 = m1;
    *(FN(loose) *)s2 = v1;
    FN(vec) v = VEC_CLAMP(v1, SMALLEST, LARGEST); /* of 0 and infinity there is no inverse root */
    FN(vec) y = VEC_RSQRT(v), half = (REAL)0.5 * v;
    FBP_UNROLL for (int i = 0; i < NEWTON_STEPS; i++) y = y * ((REAL)1.5 - half * y * y);
    FN(vec) d = v * y + epsilon;
    FN(vec) q = VEC_RCP(d);
    FBP_UNROLL for (int i = 0; i < NEWTON_STEPS; i++) q = q * (2 - d * q);
    *(FN(loose) *)p = x - rate * m1 * q;
    return x * x;
}

static double FN(update_adam)(void *p_, void *g_, void *s1_, void *s2_, int64_t count, const fbp_update *u) {
    REAL *p = p_, *s1 = s1_, *s2 = s2_;
    const REAL *g = g_;
    const REAL alpha = (REAL)u->alpha, rate = (REAL)u->rate, epsilon = (REAL)u->epsilon;
    const REAL b1 = (REAL)u->beta_1, b2 = (REAL)u->beta_2, c1 = (REAL)(1 - u->beta_1), c2 = (REAL)(1 - u->beta_2);
    double squares = 0;
    for (int64_t start = 0; start < count; start += 1024) {
        int64_t end = count - start < 1024 ? count : start + 1024, i = start;
        FN(vec) sum = {0};
        for (; i + 4 * LANES <= end; i += 4 * LANES) /* one by one: 5% slower for the step of a small net */
            FBP_UNROLL for (int64_t k = i; k < i + 4 * LANES; k += LANES) sum +=
                FN(adam_vector)(p + k, g + k, s1 + k, s2 + k, alpha, rate, b1, b2, c1, c2, epsilon);
        for (; i + LANES <= end; i += LANES)
            sum += FN(adam_vector)(p + i, g + i, s1 + i, s2 + i, alpha, rate, b1, b2, c1, c2, epsilon);
        if (i < end) {
            REAL part[4][LANES];
            int left = (int)(end - i);
            AT(part[0], 0) = FN(load_part)(p + i, left);
            AT(part[1], 0) = FN(load_part)(g + i, left);
            AT(part[2], 0) = FN(load_part)(s1 + i, left);
            AT(part[3], 0) = FN(load_part)(s2 + i, left);
            sum += FN(adam_vector)(part[0], part[1], part[2], part[3], alpha, rate, b1, b2, c1, c2, epsilon);
            FN(store_part)(p + i, AT(part[0], 0), left);
            FN(store_part)(s1 + i, AT(part[2], 0), left);
            FN(store_part)(s2 + i, AT(part[3], 0), left);
        }
        squares += FN(sum_lanes)(sum);
    }
    return u->alpha > 0 ? squares : 0;
}
#endif
#undef UPDATE

#include "packed_template.h"
#include "sparse_template.h"

#define ENTRY_FILL_PANELS(name) FN(fill_panels_##name),
#define ENTRY_FILL_STRIP(name) FN(fill_strip_##name),
#define ENTRY_SINGLE_FORWARD(name) FN(single_forward_##name),
#define ENTRY_SINGLE_GRAD(name) FN(single_grad_##name),
#define ENTRY_ACT(name) FN(act_##name),
#define ENTRY_DERIVE(name) FN(derive_##name),
#define ENTRY_LOSS(name) FN(loss_##name),
#define ENTRY_OUTPUT(name) FN(output_##name),
#define ENTRY_UPDATE(name, states) FN(update_##name),
const fbp_kernels FN(fbp_kernels) = {
    .isa = LEVEL,
    .gather = FN(gather),
    .gather_targets = FN(gather_targets),
    .add_bias = FN(add_bias),
    .act = {FBP_ACTIVATIONS(ENTRY_ACT)},
    .derive = {FBP_ACTIVATIONS(ENTRY_DERIVE)},
    .loss = {FBP_LOSSES(ENTRY_LOSS)},
    .output = {FBP_LOSSES(ENTRY_OUTPUT)},
    .column_sums = FN(column_sums),
    .square_sum = FN(square_sum),
    .update = {FBP_OPTIMIZERS(ENTRY_UPDATE)},
    .mr = MR,
    .nr = NR,
    .aw = AW,
    .tile_panels = FN(tile_panels),
    .tile_strip = FN(tile_strip),
    .fill_panels = {FBP_ACTIVATIONS(ENTRY_FILL_PANELS)},
    .fill_strip = {FBP_ACTIVATIONS(ENTRY_FILL_STRIP)},
    .single_forward = {FBP_ACTIVATIONS(ENTRY_SINGLE_FORWARD)},
    .single_grad = {FBP_ACTIVATIONS(ENTRY_SINGLE_GRAD)},
    .pack_panels = FN(pack_panels),
    .pack_transposed = FN(pack_transposed),
    .panel_sums = FN(panel_sums),
    .csr_forward = FN(csr_forward),
    .csr_weight_grad = FN(csr_weight_grad),
};
#undef ENTRY_FILL_PANELS
#undef ENTRY_FILL_STRIP
#undef ENTRY_SINGLE_FORWARD
#undef ENTRY_SINGLE_GRAD
#undef AT
#undef MR
#undef NR
#undef AW
#undef ENTRY_ACT
#undef ENTRY_DERIVE
#undef ENTRY_LOSS
#undef ENTRY_OUTPUT
#undef ENTRY_UPDATE
