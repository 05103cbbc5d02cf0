/* Losses, their slopes and the output activations against long double; clipping, NaN and infinity, logits of
 * any size. Operands end at a forbidden page. */
#include "check.h"

static guarded block[3];

static long double clipped(long double loss) {
    long double eps = DBL_EPSILON, low = -log1pl(-eps), high = -logl(eps);
    return loss < low ? low : loss > high ? high : loss;
}

/* loss of one row, its dz without weight, and the size of the numbers that were added up in it */
static long double exact_loss(fbp_loss loss, const double *z, const double *y, int out, int clip, long double *dz,
                              long double *size) {
    long double total = 0, max = -INFINITY, sum = 0, mass = 0;
    *size = 1;
    for (int j = 0; j < out; j++) max = z[j] > max ? z[j] : max;
    for (int j = 0; j < out; j++) {
        long double zj = z[j], yj = y[j], e = expl(-fabsl(zj)), part;
        switch (loss) {
        case FBP_LOSS_squared_error:
            dz[j] = zj - yj;
            total += dz[j] * dz[j] / 2;
            break;
        case FBP_LOSS_log_loss:
            sum += expl(zj - max);
            mass += yj;
            total -= yj * (zj - max);
            *size += yj * fabsl(zj - max) + out;
            break;
        case FBP_LOSS_binary_log_loss:
            part = log1pl(e) + (zj < 0 ? 0 : zj) - yj * zj;
            total += clip ? clipped(part) : part;
            *size += fabsl(zj);
            dz[j] = (zj < 0 ? e : 1) / (1 + e) - yj;
            break;
        default:
            dz[j] = expl(zj) - yj;
            total += expl(zj) - yj - yj * zj + (yj > 0 ? yj * logl(yj) : 0);
            *size += expl(zj) + yj * (2 + fabsl(zj));
        }
    }
    if (loss == FBP_LOSS_log_loss) {
        total += mass * logl(sum);
        for (int j = 0; j < out; j++) dz[j] = expl(z[j] - max) / sum * mass - y[j];
        if (clip) total = clipped(total);
    }
    *size += fabsl(total);
    return total;
}

enum { LOSS_ROWS = 133 };

static void check_loss(fbp_dtype dtype, const fbp_kernels *k, fbp_loss loss, int n, int out, int labels, int clip,
                       int weighted) {
    static int32_t label[LOSS_ROWS];
    static double weight[LOSS_ROWS];
    double eps = epsilon_of(dtype), scale = 0.37, spread = loss == FBP_LOSS_poisson ? 4 : 30;
    int64_t count = (int64_t)n * out;
    void *z = at_end(block[0], count, dtype), *y = labels ? NULL : at_end(block[1], count, dtype);
    fill_random(z, count, -spread, spread, dtype);
    for (int i = 0; i < LOSS_ROWS; i++) {
        weight[i] = random_between(0.1, 2);
        label[i] = (int32_t)random_below(out);
    }
    int first = LOSS_ROWS - n; /* of the labels and weights, which end where their arrays do */
    fbp_targets targets = {.y = y,
                           .label = labels ? label + first : NULL,
                           .weight = weighted ? weight + first : NULL,
                           .scale = scale,
                           .clip = clip};
    double *z_row = malloc((size_t)count * sizeof *z_row), *y_row = calloc((size_t)count, sizeof *y_row);
    long double *dz = malloc((size_t)out * sizeof *dz), total = 0, sizes = 0, size;
    for (int64_t i = 0; i < count; i++) {
        z_row[i] = get(z, i, dtype);
        if (!labels) {
            double t = loss == FBP_LOSS_poisson         ? (double)random_below(5)
                       : loss == FBP_LOSS_squared_error ? random_between(-2, 2)
                                                        : (double)(random_bits() & 1);
            put(y, i, t, dtype);
            y_row[i] = get(y, i, dtype);
        } else if (i % out == label[first + i / out]) {
            y_row[i] = 1;
        }
    }
    double got = k->losses.loss[loss](z, &targets, n, out);
    for (int i = 0; i < n; i++) {
        double w = weighted ? weight[first + i] : 1;
        total += w * exact_loss(loss, z_row + i * out, y_row + i * out, out, clip, dz, &size);
        sizes += w * size;
        for (int j = 0; j < out; j++) {
            double want = (double)(dz[j] * w * scale), is = get(z, i * out + j, dtype);
            double around = w * scale * (fabs((double)dz[j]) + fabs(y_row[i * out + j]) + (loss == FBP_LOSS_log_loss));
            CHECK(fabs(is - want) <= (loss == FBP_LOSS_log_loss ? out + 40 : 6) * eps * around,
                  "%s %s %s, %d x %d, row %d: dz[%d] = %.17g, not %.17g", k->isa, dtype_name(dtype),
                  fbp_loss_name[loss], n, out, i, j, is, want);
        }
    }
    CHECK(fabsl(got - total) <= 8 * eps * sizes, "%s %s %s%s, %d x %d: %.17g, not %.17g", k->isa, dtype_name(dtype),
          fbp_loss_name[loss], clip ? " clipped" : "", n, out, got, (double)total);
    free(z_row);
    free(y_row);
    free(dz);
}

static void losses_and_their_slopes(fbp_dtype dtype, const fbp_kernels *k) {
    static const int rows[] = {1, 2, 63, 64, 65, LOSS_ROWS};
    for (int loss = 0; loss < FBP_N_LOSS; loss++)
        for (int s = 0; s < CHECK_N_SIZES; s++)
            for (int r = 0; r < 6; r++)
                for (int way = 0; way < 4; way++)
                    for (int labels = 0; labels <= (loss == FBP_LOSS_log_loss); labels++)
                        if ((s + r) % 3 == 0 || r == 0)
                            check_loss(dtype, k, loss, rows[r], CHECK_SIZES[s], labels, way & 1, way >> 1);
}

/* Reported losses stay between -log(1 - eps) and -log(eps) of float64 when asked; the slopes are those without it. */
static void losses_are_clipped_when_asked(fbp_dtype dtype, const fbp_kernels *k) {
    double eps = DBL_EPSILON, low = -log1p(-eps), high = -log(eps);
    int32_t label[2] = {0, 0};
    for (int right = 0; right < 2; right++)
        for (int loss = FBP_LOSS_log_loss; loss <= FBP_LOSS_binary_log_loss; loss++)
            for (int labels = 0; labels <= (loss == FBP_LOSS_log_loss); labels++) {
                void *z[2], *y = at_end(block[2], 4, dtype);
                double total[2];
                for (int clip = 0; clip < 2; clip++) {
                    z[clip] = at_end(block[clip], 4, dtype);
                    for (int i = 0; i < 4; i++) { /* two rows of two; class 0 is right */
                        put(y, i, i % 2 == 0, dtype);
                        put(z[clip], i, (i % 2 == 0) == right ? 900 : -900, dtype);
                    }
                    fbp_targets targets = {.y = y, .label = labels ? label : NULL, .scale = 1, .clip = clip};
                    total[clip] = k->losses.loss[loss](z[clip], &targets, 2, 2);
                }
                int parts = loss == FBP_LOSS_log_loss ? 2 : 4;
                CHECK(fabs(total[1] - parts * (right ? low : high)) <= 1e-3 * parts * low, "%s %s %s: %.17g", k->isa,
                      dtype_name(dtype), fbp_loss_name[loss], total[1]);
                CHECK(right ? total[0] == 0 : total[0] > 1799 * (parts / 2), "%s %s %s not clipped: %.17g", k->isa,
                      dtype_name(dtype), fbp_loss_name[loss], total[0]);
                CHECK(same_bits(z[0], z[1], 4, dtype), "%s %s: other slopes", k->isa, fbp_loss_name[loss]);
            }
}

/* A row that is not finite makes the loss so and leaves the other rows alone. */
static void losses_tell_of_nan(fbp_dtype dtype, const fbp_kernels *k) {
    const double bad[] = {NAN, INFINITY, -INFINITY};
    int32_t label[5] = {0, 1, 2, 3, 4};
    for (int loss = 0; loss < FBP_N_LOSS; loss++)
        for (int out = 5; out <= 40; out += 7)
            for (int b = 0; b < 3; b++)
                for (int labels = 0; labels <= (loss == FBP_LOSS_log_loss); labels++) {
                    int64_t count = 5 * out, place = out * 2 + random_below(out);
                    void *z = at_end(block[0], count, dtype), *clean = at_end(block[1], count, dtype);
                    void *y = at_end(block[2], count, dtype);
                    fill_random(z, count, -1, 1, dtype);
                    fill(y, count, 1, dtype);
                    memcpy(clean, z, (size_t)count * item_of(dtype));
                    put(z, place, bad[b], dtype);
                    if (labels) label[2] = (int32_t)(place % out);
                    fbp_targets targets = {.y = y, .label = labels ? label : NULL, .scale = 1};
                    double total = k->losses.loss[loss](z, &targets, 5, out),
                           without = k->losses.loss[loss](clean, &targets, 5, out);
                    CHECK(isfinite(without), "%s %s", k->isa, fbp_loss_name[loss]);
                    CHECK(!isfinite(total), "%s %s %s with %g: %g", k->isa, dtype_name(dtype), fbp_loss_name[loss],
                          bad[b], total);
                    for (int64_t i = 0; i < count; i++)
                        if (i / out != 2)
                            CHECK(get(z, i, dtype) == get(clean, i, dtype), "%s %s: row %ld", k->isa,
                                  fbp_loss_name[loss], (long)(i / out));
                }
}

/* A class that is none makes the loss NaN; nothing outside of z is read or written. */
static void losses_tell_of_classes_that_are_none(fbp_dtype dtype, const fbp_kernels *k) {
    const int32_t none[] = {5, -1, 1000000, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 5; i++)
        for (int row = 0; row < 3; row++) {
            void *z = at_end(block[0], 3 * 5, dtype), *clean = at_end(block[1], 3 * 5, dtype);
            int32_t label[3] = {0, 3, 4};
            fbp_targets targets = {.label = label, .scale = 1, .clip = i % 2};
            fill_random(z, 3 * 5, -1, 1, dtype);
            memcpy(clean, z, 3 * 5 * item_of(dtype));
            k->losses.loss[FBP_LOSS_log_loss](clean, &targets, 3, 5);
            label[row] = none[i];
            CHECK(isnan(k->losses.loss[FBP_LOSS_log_loss](z, &targets, 3, 5)), "class %d", none[i]);
            for (int j = 0; j < 3 * 5; j++)
                CHECK(j / 5 == row || get(z, j, dtype) == get(clean, j, dtype), "class %d: row %d", none[i], j / 5);
        }
}

/* Shifted: logits of any size give probabilities that sum to one. */
static void probabilities_of_large_logits(fbp_dtype dtype, const fbp_kernels *k) {
    for (int s = 0; s < CHECK_N_SIZES; s++)
        for (int size = 0; size < 5; size++) {
            int out = CHECK_SIZES[s], n = 5;
            void *z = at_end(block[0], n * out, dtype);
            double bound = pow(10, 9 * size), z0[5 * CHECK_LARGEST];
            fill_random(z, n * out, -bound, bound, dtype);
            for (int i = 0; i < n * out; i++) z0[i] = get(z, i, dtype);
            k->losses.output[FBP_LOSS_log_loss](z, n, out);
            for (int i = 0; i < n; i++) {
                double sum = 0, max = -INFINITY, norm = 0;
                for (int j = 0; j < out; j++) max = fmax(max, z0[i * out + j]);
                for (int j = 0; j < out; j++) norm += exp(z0[i * out + j] - max);
                for (int j = 0; j < out; j++) {
                    double p = get(z, i * out + j, dtype), want = exp(z0[i * out + j] - max) / norm;
                    /* the difference is rounded to dtype: an error of half an ulp of it in the exponent */
                    double slack =
                        (out + 8 + fabs(z0[i * out + j] - max)) * epsilon_of(dtype) * want + smallest_normal(dtype);
                    CHECK(p >= 0 && p <= 1 + epsilon_of(dtype) * out && fabs(p - want) <= slack, "%s %s: %g, not %g",
                          k->isa, dtype_name(dtype), p, want);
                    sum += p;
                }
                CHECK(fabs(sum - 1) <= (out + 4) * epsilon_of(dtype), "%s %s: sum %.17g", k->isa, dtype_name(dtype),
                      sum);
            }
        }
}

int main(void) {
    for (int i = 0; i < 3; i++) block[i] = guarded_new(LOSS_ROWS * CHECK_LARGEST * sizeof(double));
    at_every_level(losses_and_their_slopes);
    at_every_level(losses_are_clipped_when_asked);
    at_every_level(losses_tell_of_nan);
    at_every_level(losses_tell_of_classes_that_are_none);
    at_every_level(probabilities_of_large_logits);
    for (int i = 0; i < 3; i++) guarded_free(block[i]);
    return check_report("losses");
}
