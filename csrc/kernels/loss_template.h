/* Losses: z -> dz in place, and the weighted sum of the rows' losses; output activations. Included by template.h. */

static inline double FN(weight_of)(const fbp_targets *t, int64_t i) { return t->weight ? t->weight[i] : 1.0; }

/* What clipping a probability to [eps, 1 - eps] makes of its -log. eps is that of float64 in float32 too: a loss comes
 * from the logits, and ends there where it ends for a reader who has the probabilities in float64. */
static inline double FN(clipped)(double loss) {
    const double low = -log1p(-DBL_EPSILON), high = -log(DBL_EPSILON);
    return loss < low ? low : loss > high ? high : loss;
}

static double FN(loss_squared_error)(void *z_, const fbp_targets *targets, int64_t n, int out) {
    REAL *restrict z = z_;
    const REAL *restrict y = targets->y;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        double w = FN(weight_of)(targets, i), sum = 0;
        REAL scale = (REAL)(w * targets->scale);
        for (int j = 0; j < out; j++) {
            REAL e = z[i * out + j] - y[i * out + j];
            sum += 0.5 * (double)e * (double)e;
            z[i * out + j] = e * scale;
        }
        total += w * sum;
    }
    return total;
}

/* Labels smoothed by s: each target y becomes keep * y + share, share = s / classes. */
#define SMOOTHED(keep, share, y) ((keep) * (y) + (share))

/* each row less its maximum (or NaN if it has one) */
static void FN(shift_rows)(REAL *z, int64_t n, int out) {
    for (int64_t i = 0; i < n; i++) {
        REAL *row = z + i * out, max = row[0];
        for (int j = 1; j < out; j++) max = row[j] > max ? row[j] : max;
        for (int j = 0; j < out; j++) row[j] -= max;
    }
}

static double FN(sum_of_row)(const REAL *row, int out) {
    double sum = 0;
    for (int j = 0; j < out; j++) sum += (double)row[j];
    return sum;
}

static double FN(loss_log_loss)(void *z_, const fbp_targets *targets, int64_t n, int out) {
    const int32_t *label = targets->label;
    const REAL *restrict y = targets->y;
    const double s = targets->smoothing;
    const REAL keep = (REAL)(1 - s), share = (REAL)(s / out);
    double total = 0;
    FN(shift_rows)(z_, n, out);
    for (int64_t i0 = 0; i0 < n; i0 += FBP_LOSS_BLOCK) {
        int64_t m = n - i0 < FBP_LOSS_BLOCK ? n - i0 : FBP_LOSS_BLOCK;
        REAL *z = (REAL *)z_ + i0 * out;
        double linear[FBP_LOSS_BLOCK], y_sum[FBP_LOSS_BLOCK]; /* sum_j y_j z_j and sum_j y_j */
        for (int64_t i = 0; i < m; i++) {
            linear[i] = 0;
            y_sum[i] = 1;
            if (label) {
                linear[i] = (unsigned)label[i0 + i] < (unsigned)out ? (double)z[i * out + label[i0 + i]] : (double)NAN;
                if (s > 0) linear[i] = SMOOTHED(1 - s, s / out * FN(sum_of_row)(z + i * out, out), linear[i]);
            } else {
                y_sum[i] = 0;
                for (int j = 0; j < out; j++) {
                    REAL t = SMOOTHED(keep, share, y[(i0 + i) * out + j]);
                    y_sum[i] += (double)t;
                    if (t != 0) linear[i] += (double)t * (double)z[i * out + j];
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
            double w = FN(weight_of)(targets, i0 + i);
            double loss = y_sum[i] * (double)log_sum[i] - linear[i];
            REAL *row = z + i * out, scale = (REAL)(w * targets->scale), inverse = 1 / sum[i];
            if (label) {
                for (int j = 0; j < out; j++) row[j] = row[j] * inverse * scale;
                if ((unsigned)label[i0 + i] < (unsigned)out) row[label[i0 + i]] -= keep * scale;
                for (int j = 0; s > 0 && j < out; j++) row[j] -= share * scale;
            } else {
                const REAL *t = y + (i0 + i) * out;
                REAL total_y = (REAL)y_sum[i];
                for (int j = 0; j < out; j++)
                    row[j] = (row[j] * inverse * total_y - SMOOTHED(keep, share, t[j])) * scale;
            }
            total += w * (targets->clip && s == 0 ? FN(clipped)(loss) : loss);
        }
    }
    return total;
}

static double FN(loss_binary_log_loss)(void *z_, const fbp_targets *targets, int64_t n, int out) {
    const REAL *restrict y = targets->y;
    const REAL keep = (REAL)(1 - targets->smoothing), share = (REAL)(targets->smoothing / 2);
    const int clip = targets->clip && targets->smoothing == 0;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict row = (REAL *)z_ + i * out;
        double w = FN(weight_of)(targets, i), sum = 0;
        REAL scale = (REAL)(w * targets->scale);
        for (int j0 = 0; j0 < out; j0 += FBP_LOSS_BLOCK) {
            int m = out - j0 < FBP_LOSS_BLOCK ? out - j0 : FBP_LOSS_BLOCK;
            REAL loss[FBP_LOSS_BLOCK];
            FBP_IVDEP for (int j = 0; j < m; j++) {
                REAL z = row[j0 + j], t = SMOOTHED(keep, share, y[i * out + j0 + j]);
                REAL e = FN(exp)(z < 0 ? z : -z); /* exp(-|z|) */
                REAL a = (z < 0 ? e : (REAL)1) / (1 + e);
                loss[j] = FN(log1p)(e) + ((z < 0 ? 0 : z) - t * z);
                row[j0 + j] = (a - t) * scale;
            }
            for (int j = 0; j < m; j++) sum += clip ? FN(clipped)((double)loss[j]) : (double)loss[j];
        }
        total += w * sum;
    }
    return total;
}

static double FN(loss_poisson)(void *z_, const fbp_targets *targets, int64_t n, int out) {
    const REAL *restrict y = targets->y;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict row = (REAL *)z_ + i * out;
        double w = FN(weight_of)(targets, i), sum = 0;
        REAL scale = (REAL)(w * targets->scale);
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

static double FN(weigh)(void *dz_, const double *loss, const fbp_targets *targets, int64_t n, int out) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        REAL *dz = (REAL *)dz_ + i * out;
        double w = FN(weight_of)(targets, i);
        REAL scale = (REAL)(w * targets->scale);
        for (int j = 0; j < out; j++) dz[j] *= scale;
        total += w * loss[i];
    }
    return total;
}

/* Losses of e = z - y, output by output: each returns the loss and its slope, which lets NaN through; p: the parameter
 * of the output. */

static inline double FN(absolute_error_of)(REAL e, double p, REAL *slope) {
    (void)p;
    *slope = e > 0 ? (REAL)1 : e < 0 ? (REAL)-1 : e;
    return e < 0 ? -(double)e : (double)e;
}

/* e^2 / 2, or beyond p p (|e| - p / 2): the slope is e kept within +-p. */
static inline double FN(huber_of)(REAL e, double p, REAL *slope) {
    REAL delta = (REAL)p, kept = e > delta ? delta : e < -delta ? -delta : e;
    *slope = kept;
    return (double)kept * ((double)e - 0.5 * (double)kept);
}

/* log cosh e. cosh e - 1 is 2 t^2 / (1 - t^2), t = tanh(e / 2), without cancellation near 0; from |e| = 1 on it is
 * |e| - log 2 + log1p(exp(-2 |e|)), without overflow. */
static inline double FN(log_cosh_of)(REAL e, double p, REAL *slope) {
    REAL size = e < 0 ? -e : e;
    REAL t = FN(tanh)((size < 1 ? size : (REAL)1) / 2);
    REAL near_0 = 2 * t * t / (1 - t * t), far = FN(exp)(-2 * size);
    double log_of = (double)FN(log1p)(size < 1 ? near_0 : far);
    (void)p;
    *slope = FN(tanh)(e);
    return size < 1 ? log_of : (double)size - 0.69314718055994530942 + log_of;
}

/* p of what y is above z, and 1 - p of what it is below. */
static inline double FN(quantile_of)(REAL e, double p, REAL *slope) {
    *slope = e > 0 ? (REAL)(1 - p) : e < 0 ? (REAL)-p : e;
    return (e > 0 ? 1 - p : -p) * (double)e;
}

/* In blocks of whole rows, or of columns of one row, in either case of numbers that are consecutive. */
#define LOSS_OF_ERROR(name, default_param)                                                                  \
    static double FN(loss_##name)(void *z_, const fbp_targets *targets, int64_t n, int out) {                \
        double total = 0, loss[FBP_LOSS_BLOCK], p[FBP_LOSS_BLOCK];                                          \
        const int64_t most = out < FBP_LOSS_BLOCK ? FBP_LOSS_BLOCK / out : 1, rows = most < n ? most : n;   \
        for (int j0 = 0; j0 < out; j0 += FBP_LOSS_BLOCK) {                                                  \
            const int m = out - j0 < FBP_LOSS_BLOCK ? out - j0 : FBP_LOSS_BLOCK;                            \
            for (int64_t i = 0; i < rows; i++)                                                              \
                for (int j = 0; j < m; j++) p[i * m + j] = targets->param ? targets->param[j0 + j] : default_param; \
            for (int64_t i0 = 0; i0 < n; i0 += rows) {                                                      \
                const int64_t r = n - i0 < rows ? n - i0 : rows;                                            \
                REAL *restrict z = (REAL *)z_ + i0 * out + j0;                                              \
                const REAL *restrict y = (const REAL *)targets->y + i0 * out + j0;                          \
                FBP_IVDEP for (int64_t k = 0; k < r * m; k++) {                                             \
                    REAL slope;                                                                             \
                    loss[k] = FN(name##_of)(z[k] - y[k], p[k], &slope);                                     \
                    z[k] = slope;                                                                           \
                }                                                                                           \
                for (int64_t i = 0; i < r; i++) {                                                           \
                    double w = FN(weight_of)(targets, i0 + i), sum = 0;                                     \
                    REAL scale = (REAL)(w * targets->scale);                                                \
                    for (int j = 0; j < m; j++) z[i * m + j] *= scale;                                      \
                    for (int j = 0; j < m; j++) sum += loss[i * m + j];                                     \
                    total += w * sum;                                                                       \
                }                                                                                           \
            }                                                                                               \
        }                                                                                                   \
        return total;                                                                                       \
    }
LOSS_OF_ERROR(absolute_error, 0)
LOSS_OF_ERROR(huber, 1)
LOSS_OF_ERROR(log_cosh, 0)
LOSS_OF_ERROR(quantile, 0.5)
#undef LOSS_OF_ERROR

/* y / mu - log(y / mu) - 1 with mu = exp(z); 1 / mu in two factors, since y / mu may be finite where 1 / mu is not. */
static double FN(loss_gamma)(void *z_, const fbp_targets *targets, int64_t n, int out) {
    const REAL *restrict y = targets->y;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict row = (REAL *)z_ + i * out;
        double w = FN(weight_of)(targets, i), sum = 0;
        REAL scale = (REAL)(w * targets->scale);
        for (int j = 0; j < out; j++) {
            REAL z = row[j], t = y[i * out + j], root = FN(exp)(-z / 2), ratio = t * root * root;
            sum += (double)ratio - 1 - log((double)t) + (double)z;
            row[j] = (1 - ratio) * scale;
        }
        total += w * sum;
    }
    return total;
}

/* (log v + (y - mean)^2 / v) / 2, v = exp(s) + least variance. With E = exp(-|s|), v is D = E + least for s < 0, and
 * D / E = (1 + least E) / E for s >= 0: nothing overflows. (s - s is 0, or NaN for an infinite s.) */
static double FN(loss_gaussian_nll)(void *z_, const fbp_targets *targets, int64_t n, int out) {
    const REAL *restrict y = targets->y;
    const REAL least = (REAL)FBP_LEAST_VARIANCE;
    const int columns = out / 2;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict mean = (REAL *)z_ + i * out, *restrict raw = mean + columns;
        double w = FN(weight_of)(targets, i), sum = 0, scale = w * targets->scale;
        for (int j0 = 0; j0 < columns; j0 += FBP_LOSS_BLOCK) {
            int m = columns - j0 < FBP_LOSS_BLOCK ? columns - j0 : FBP_LOSS_BLOCK;
            double loss[FBP_LOSS_BLOCK];
            FBP_IVDEP for (int j = 0; j < m; j++) {
                REAL s = raw[j0 + j], E = FN(exp)(s < 0 ? s : -s);
                REAL D = s < 0 ? E + least : 1 + least * E;
                REAL precision = (s < 0 ? 1 : E) / D, share = (s < 0 ? E : (REAL)1) / D; /* 1 / v and exp(s) / v */
                double e = (double)mean[j0 + j] - (double)y[i * columns + j0 + j];
                double square = e * (double)precision * e;
                loss[j] = 0.5 * ((double)FN(log)(D) + (double)(s < 0 ? s - s : s + (s - s)) + square);
                mean[j0 + j] = (REAL)(e * (double)precision * scale);
                raw[j0 + j] = (REAL)(0.5 * (1 - square) * (double)share * scale);
            }
            for (int j = 0; j < m; j++) sum += loss[j];
        }
        total += w * sum;
    }
    return total;
}

static void FN(output_identity)(void *z, int64_t n, int out) { (void)z, (void)n, (void)out; }

static void FN(output_softmax)(void *z_, int64_t n, int out) {
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
static void FN(output_logistic)(void *z_, int64_t n, int out) {
    REAL *z = z_;
    FBP_IVDEP for (int64_t k = 0; k < n * out; k++) z[k] = FN(logistic)(z[k]);
}
static void FN(output_exp)(void *z_, int64_t n, int out) {
    REAL *z = z_;
    FBP_IVDEP for (int64_t k = 0; k < n * out; k++) z[k] = FN(exp)(z[k]);
}
/* The deviation sqrt(exp(s) + least variance); for s >= 0 as exp(s / 2) sqrt(1 + least exp(-s)). */
static void FN(output_mean_and_std)(void *z_, int64_t n, int out) {
    const REAL least = (REAL)FBP_LEAST_VARIANCE;
    const int columns = out / 2;
    for (int64_t i = 0; i < n; i++) {
        REAL *raw = (REAL *)z_ + i * out + columns;
        FBP_IVDEP for (int j = 0; j < columns; j++) {
            REAL s = raw[j], E = FN(exp)(s < 0 ? s : -s);
            REAL D = s < 0 ? E + least : 1 + least * E;
            raw[j] = (REAL)sqrt((double)D) * FN(exp)(s < 0 ? (REAL)0 : s / 2);
        }
    }
}

/* a = output(z) -> dJ/dz, from c = dJ/da */
static void FN(output_grad_identity)(void *a, const void *c, int64_t n, int out) {
    memcpy(a, c, (size_t)(n * out) * sizeof(REAL));
}
static void FN(output_grad_logistic)(void *a_, const void *c_, int64_t n, int out) {
    REAL *restrict a = a_;
    const REAL *restrict c = c_;
    for (int64_t k = 0; k < n * out; k++) a[k] = c[k] * (a[k] * (1 - a[k]));
}
static void FN(output_grad_exp)(void *a_, const void *c_, int64_t n, int out) {
    REAL *restrict a = a_;
    const REAL *restrict c = c_;
    for (int64_t k = 0; k < n * out; k++) a[k] *= c[k];
}
static void FN(output_grad_softmax)(void *a_, const void *c_, int64_t n, int out) {
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict a = (REAL *)a_ + i * out;
        const REAL *restrict c = (const REAL *)c_ + i * out;
        double sum = 0;
        for (int j = 0; j < out; j++) sum += (double)c[j] * (double)a[j];
        REAL mean = (REAL)sum;
        for (int j = 0; j < out; j++) a[j] *= c[j] - mean;
    }
}
/* of the deviation a = sqrt(exp(s) + least): exp(s) / (2 a) = (a^2 - least) / (2 a) */
static void FN(output_grad_mean_and_std)(void *a_, const void *c_, int64_t n, int out) {
    const REAL least = (REAL)FBP_LEAST_VARIANCE;
    const int columns = out / 2;
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict a = (REAL *)a_ + i * out;
        const REAL *restrict c = (const REAL *)c_ + i * out;
        for (int j = 0; j < columns; j++) a[j] = c[j];
        for (int j = columns; j < out; j++) a[j] = c[j] * ((a[j] - least / a[j]) / 2);
    }
}
#undef SMOOTHED
