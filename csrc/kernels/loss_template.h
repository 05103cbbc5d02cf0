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

/* each row less its maximum (or NaN if it has one) */
static void FN(shift_rows)(REAL *z, int64_t n, int out) {
    for (int64_t i = 0; i < n; i++) {
        REAL *row = z + i * out, max = row[0];
        for (int j = 1; j < out; j++) max = row[j] > max ? row[j] : max;
        for (int j = 0; j < out; j++) row[j] -= max;
    }
}

static double FN(loss_log_loss)(void *z_, const fbp_targets *targets, int64_t n, int out) {
    const int32_t *label = targets->label;
    const REAL *restrict y = targets->y;
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
            } else {
                y_sum[i] = 0;
                for (int j = 0; j < out; j++) {
                    REAL t = y[(i0 + i) * out + j];
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
                if ((unsigned)label[i0 + i] < (unsigned)out) row[label[i0 + i]] -= scale;
            } else {
                const REAL *t = y + (i0 + i) * out;
                REAL total_y = (REAL)y_sum[i];
                for (int j = 0; j < out; j++) row[j] = (row[j] * inverse * total_y - t[j]) * scale;
            }
            total += w * (targets->clip ? FN(clipped)(loss) : loss);
        }
    }
    return total;
}

static double FN(loss_binary_log_loss)(void *z_, const fbp_targets *targets, int64_t n, int out) {
    const REAL *restrict y = targets->y;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        REAL *restrict row = (REAL *)z_ + i * out;
        double w = FN(weight_of)(targets, i), sum = 0;
        REAL scale = (REAL)(w * targets->scale);
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
            for (int j = 0; j < m; j++) sum += targets->clip ? FN(clipped)((double)loss[j]) : (double)loss[j];
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
