/* Losses: z -> dz = (a - y) w scale in place, and the weighted sum of the rows' losses; and the output
 * activations of prediction. Included by kernels_template.h. */

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
