/* Losses, their slopes and the output activations against long double; clipping, NaN and infinity, numbers
 * of any size. Operands end at a forbidden page. */
#include "check.h"

static guarded block[3];

static long double clipped(long double loss) {
    long double eps = DBL_EPSILON, low = -log1pl(-eps), high = -logl(eps);
    return loss < low ? low : loss > high ? high : loss;
}

/* What a loss is told beside z and y. */
typedef struct {
    fbp_loss loss;
    int out, columns, clip; /* columns of y */
    const double *param;
    double smoothing;
} problem;

/* log cosh e */
static long double exact_log_cosh(long double e) {
    long double half = sinhl((fabsl(e) < 1 ? e : 1) / 2);
    return fabsl(e) < 1 ? log1pl(2 * half * half) : fabsl(e) - logl(2) + log1pl(expl(-2 * fabsl(e)));
}

/* loss of one number of a loss whose z is compared with y, and its dz; *size and *around grow by the sizes of the
 * numbers that are added up in them */
static long double exact_part(const problem *p, int j, long double z, long double y, long double *dz, long double *size,
                              long double *around) {
    long double e = z - y, part = 0, param = p->param ? p->param[j] : p->loss == FBP_LOSS_huber ? 1 : 0.5L;
    switch (p->loss) {
    case FBP_LOSS_squared_error: *dz = e; return e * e / 2;
    case FBP_LOSS_absolute_error: *dz = (e > 0) - (e < 0); return fabsl(e);
    case FBP_LOSS_huber:
        *dz = e > param ? param : e < -param ? -param : e;
        return fabsl(e) <= param ? e * e / 2 : param * (fabsl(e) - param / 2);
    case FBP_LOSS_log_cosh: *dz = tanhl(e); return exact_log_cosh(e);
    case FBP_LOSS_quantile: *dz = e > 0 ? 1 - param : e < 0 ? -param : 0; return e > 0 ? (1 - param) * e : -param * e;
    case FBP_LOSS_binary_log_loss:
        part = log1pl(expl(-fabsl(z))) + (z < 0 ? 0 : z) - y * z;
        *size += fabsl(z);
        *dz = (z < 0 ? expl(z) : 1) / (1 + expl(-fabsl(z))) - y;
        return p->clip && p->smoothing == 0 ? clipped(part) : part;
    case FBP_LOSS_gamma:
        *dz = 1 - y * expl(-z);
        *size += y * expl(-z) + 1 + fabsl(logl(y)) + fabsl(z);
        *around += 1;
        return y * expl(-z) - 1 - logl(y) + z;
    default: /* Poisson */
        *dz = expl(z) - y;
        *size += expl(z) + y * (2 + fabsl(z));
        return expl(z) - y - y * z + (y > 0 ? y * logl(y) : 0);
    }
}

static long double exact_log_loss(const problem *p, const double *z, const long double *y, long double *dz,
                                  long double *size) {
    long double total = 0, max = -INFINITY, sum = 0, mass = 0;
    for (int j = 0; j < p->out; j++) max = z[j] > max ? z[j] : max;
    for (int j = 0; j < p->out; j++) {
        sum += expl(z[j] - max);
        mass += y[j];
        total -= y[j] * (z[j] - max);
        *size += y[j] * fabsl(z[j] - max) + p->out;
    }
    total += mass * logl(sum);
    for (int j = 0; j < p->out; j++) dz[j] = expl(z[j] - max) / sum * mass - y[j];
    return p->clip && p->smoothing == 0 ? clipped(total) : total;
}

static long double exact_gaussian(const problem *p, const double *z, const long double *y, long double *dz,
                                  long double *size, long double *around) {
    long double total = 0;
    for (int j = 0, k = p->columns; j < p->columns; j++, k++) {
        long double variance = expl(z[k]) + FBP_LEAST_VARIANCE, e = z[j] - y[j], square = e * e / variance;
        dz[j] = e / variance;
        dz[k] = (1 - square) / 2 * expl(z[k]) / variance;
        total += (logl(variance) + square) / 2;
        *size += fabsl(logl(variance)) + square;
        around[k] += (1 + square) / 2 * expl(z[k]) / variance;
    }
    return total;
}

/* loss of one row, its dz without weight, the size of the numbers that were added up in it, and in each dz */
static long double exact_loss(const problem *p, const double *z, const double *given, long double *dz,
                              long double *size, long double *around) {
    long double total = 0, y[CHECK_LARGEST];
    *size = 1;
    for (int j = 0; j < p->columns; j++) {
        long double classes = p->loss == FBP_LOSS_log_loss ? p->out : 2;
        y[j] = (1 - (long double)p->smoothing) * given[j] + p->smoothing / classes;
    }
    for (int j = 0; j < p->out; j++)
        around[j] = fabsl(y[j % p->columns]) + (long double)p->smoothing + (p->loss == FBP_LOSS_log_loss);
    if (p->loss == FBP_LOSS_log_loss)
        total = exact_log_loss(p, z, y, dz, size);
    else if (p->loss == FBP_LOSS_gaussian_nll)
        total = exact_gaussian(p, z, y, dz, size, around);
    else
        for (int j = 0; j < p->out; j++) total += exact_part(p, j, z[j], y[j], &dz[j], size, &around[j]);
    for (int j = 0; j < p->out; j++) around[j] += fabsl(dz[j]);
    *size += fabsl(total);
    return total;
}

enum { LOSS_ROWS = 133 };

static double random_target(fbp_loss loss) {
    switch (loss) {
    case FBP_LOSS_log_loss:
    case FBP_LOSS_binary_log_loss: return (double)(random_bits() & 1);
    case FBP_LOSS_poisson: return (double)random_below(5);
    case FBP_LOSS_gamma: return random_between(0.05, 5);
    default: return random_between(-2, 2);
    }
}

static void check_loss(fbp_dtype dtype, const fbp_kernels *k, const problem *p, int n, int labels, int weighted) {
    static int32_t label[LOSS_ROWS];
    static double weight[LOSS_ROWS];
    int out = p->out, columns = p->columns;
    double eps = epsilon_of(dtype), scale = 0.37;
    double spread = p->loss == FBP_LOSS_poisson || p->loss == FBP_LOSS_gamma ? 4 : 30;
    int64_t count = (int64_t)n * out;
    void *z = at_end(block[0], count, dtype), *y = labels ? NULL : at_end(block[1], n * columns, dtype);
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
                           .clip = p->clip,
                           .param = p->param,
                           .smoothing = p->smoothing};
    double *z_row = malloc((size_t)count * sizeof *z_row), *y_row = calloc((size_t)count, sizeof *y_row);
    long double *dz = malloc(2 * (size_t)out * sizeof *dz), *around = dz + out, total = 0, sizes = 0, size;
    for (int64_t i = 0; i < count; i++) z_row[i] = get(z, i, dtype);
    for (int64_t i = 0; i < n * columns; i++) {
        if (!labels) {
            put(y, i, random_target(p->loss), dtype);
            y_row[i] = get(y, i, dtype);
        } else if (i % out == label[first + i / out]) {
            y_row[i] = 1;
        }
    }
    double got = k->losses.loss[p->loss](z, &targets, n, out);
    for (int i = 0; i < n; i++) {
        double w = weighted ? weight[first + i] : 1;
        total += w * exact_loss(p, z_row + i * out, y_row + i * columns, dz, &size, around);
        sizes += w * size;
        for (int j = 0; j < out; j++) {
            double want = (double)(dz[j] * w * scale), is = get(z, i * out + j, dtype);
            double most = (p->loss == FBP_LOSS_log_loss ? out + 40 : 8) * eps * w * scale * (double)around[j];
            CHECK(fabs(is - want) <= most, "%s %s %s, %d x %d, row %d: dz[%d] = %.17g, not %.17g", k->isa,
                  dtype_name(dtype), fbp_loss_name[p->loss], n, out, i, j, is, want);
        }
    }
    CHECK(fabsl(got - total) <= 8 * eps * sizes, "%s %s %s%s, %d x %d: %.17g, not %.17g", k->isa, dtype_name(dtype),
          fbp_loss_name[p->loss], p->clip ? " clipped" : "", n, out, got, (double)total);
    free(z_row);
    free(y_row);
    free(dz);
}

static void losses_and_their_slopes(fbp_dtype dtype, const fbp_kernels *k) {
    static const int rows[] = {1, 2, 63, 64, 65, LOSS_ROWS};
    double param[2 * CHECK_LARGEST];
    for (int loss = 0; loss < FBP_N_LOSS; loss++) {
        int has_labels = loss == FBP_LOSS_log_loss, is_smoothed = has_labels || loss == FBP_LOSS_binary_log_loss;
        for (int j = 0; j < 2 * CHECK_LARGEST; j++) param[j] = random_between(0.05, 0.95);
        for (int s = 0; s < CHECK_N_SIZES; s++)
            for (int r = 0; r < 6; r++)
                for (int way = 0; way < (is_smoothed ? 8 : 4); way++)
                    for (int labels = 0; labels <= has_labels; labels++) {
                        problem p = {.loss = (fbp_loss)loss,
                                     .out = CHECK_SIZES[s] * fbp_loss_outputs[loss],
                                     .columns = CHECK_SIZES[s],
                                     .clip = way & 1,
                                     .param = way & 1 ? param : NULL,
                                     .smoothing = way & 4 ? 0.15 : 0};
                        if ((s + r) % 3 == 0 || r == 0) check_loss(dtype, k, &p, rows[r], labels, way >> 1 & 1);
                    }
    }
}

/* Numbers that are far from each other, or hardly differ: no overflow on the way, no cancellation. */
static void losses_of_extreme_numbers(fbp_dtype dtype, const fbp_kernels *k) {
    const double big = dtype == FBP_F32 ? 1e30 : 1e150, tiny = dtype == FBP_F32 ? 1e-12 : 1e-60;
    const struct {
        fbp_loss loss;
        double y, z[2];
    } cases[] = {
        {FBP_LOSS_absolute_error, -big, {big}},
        {FBP_LOSS_huber, big, {-big}},
        {FBP_LOSS_huber, 0, {tiny}},
        {FBP_LOSS_quantile, -big, {big}},
        {FBP_LOSS_log_cosh, -big, {big}},
        {FBP_LOSS_log_cosh, big, {-big}},
        {FBP_LOSS_log_cosh, 0, {tiny}},
        {FBP_LOSS_log_cosh, 0, {-1e-3}},
        {FBP_LOSS_log_cosh, 0, {0.999}},
        {FBP_LOSS_log_cosh, 0, {1.001}},
        {FBP_LOSS_gamma, 1e-30, {-100}},
        {FBP_LOSS_gamma, 1e30, {100}},
        {FBP_LOSS_gamma, 1e30, {1000}},
        {FBP_LOSS_gaussian_nll, 1, {0, 1000}},
        {FBP_LOSS_gaussian_nll, 1, {0, -1000}},
        {FBP_LOSS_gaussian_nll, 1e20, {0, -300}},
        {FBP_LOSS_gaussian_nll, 1e12, {-1e12, 80}},
        {FBP_LOSS_gaussian_nll, 1, {1, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fbp_loss loss = cases[i].loss;
        int out = fbp_loss_outputs[loss];
        void *z = at_end(block[0], out, dtype), *y = at_end(block[1], 1, dtype);
        double z_row[2] = {0}, y_row;
        long double dz[2], size, around[2];
        problem p = {.loss = loss, .out = out, .columns = 1};
        for (int j = 0; j < out; j++) put(z, j, cases[i].z[j], dtype), z_row[j] = get(z, j, dtype);
        put(y, 0, cases[i].y, dtype);
        y_row = get(y, 0, dtype);
        long double want = exact_loss(&p, z_row, &y_row, dz, &size, around);
        fbp_targets targets = {.y = y, .scale = 1};
        double got = k->losses.loss[loss](z, &targets, 1, out), eps = epsilon_of(dtype);
        long double parts = loss == FBP_LOSS_gamma || loss == FBP_LOSS_gaussian_nll ? size : fabsl(want);
        long double slack = 16 * eps * parts + (long double)smallest_normal(dtype);
        CHECK(fabsl(got - want) <= slack, "%s %s %s, case %d: %.17g, not %.17Lg", k->isa, dtype_name(dtype),
              fbp_loss_name[loss], (int)i, got, want);
        for (int j = 0; j < out; j++) {
            double is = get(z, j, dtype);
            /* exp(x) of an x rounded to dtype */
            long double near = 300 * eps * around[j] + (long double)smallest_normal(dtype);
            CHECK(fabsl(is - dz[j]) <= near || fabsl(dz[j]) > (long double)largest(dtype),
                  "%s %s %s, case %d: dz[%d] = %.17g, not %.17Lg", k->isa, dtype_name(dtype), fbp_loss_name[loss],
                  (int)i, j, is, dz[j]);
            CHECK(!isnan(is), "%s %s %s, case %d: dz[%d]", k->isa, dtype_name(dtype), fbp_loss_name[loss], (int)i, j);
        }
    }
}

/* ---- output activations ---------------------------------------------------------------------------- */

static void exact_output(fbp_loss loss, const long double *z, int out, long double *a) {
    long double sum = 0;
    for (int j = 0; j < out; j++) sum += expl(z[j]);
    for (int j = 0; j < out; j++) switch (loss) {
        case FBP_LOSS_log_loss: a[j] = expl(z[j]) / sum; break;
        case FBP_LOSS_binary_log_loss: a[j] = 1 / (1 + expl(-z[j])); break;
        case FBP_LOSS_poisson:
        case FBP_LOSS_gamma: a[j] = expl(z[j]); break;
        case FBP_LOSS_gaussian_nll: a[j] = j < out / 2 ? z[j] : sqrtl(expl(z[j]) + FBP_LEAST_VARIANCE); break;
        default: a[j] = z[j];
        }
}

/* d (sum_j c_j a_j) / d z_i by central differences in long double. */
static long double exact_output_grad(fbp_loss loss, const long double *z, const double *c, int out, int i) {
    const long double step = 1e-6L;
    long double moved[2 * CHECK_LARGEST], a[2][2 * CHECK_LARGEST], slope = 0;
    memcpy(moved, z, (size_t)out * sizeof *z);
    for (int side = 0; side < 2; side++) {
        moved[i] = z[i] + (side ? step : -step);
        exact_output(loss, moved, out, a[side]);
    }
    for (int j = 0; j < out; j++) slope += c[j] * (a[1][j] - a[0][j]);
    return slope / (2 * step);
}

static void check_output(fbp_dtype dtype, const fbp_kernels *k, fbp_loss loss, int out) {
    enum { ROWS = 3 };
    void *a = at_end(block[0], ROWS * out, dtype), *c = at_end(block[1], ROWS * out, dtype);
    long double z[ROWS][2 * CHECK_LARGEST], want[2 * CHECK_LARGEST];
    double c_row[2 * CHECK_LARGEST], eps = epsilon_of(dtype);
    fill_random(a, ROWS * out, -6, 6, dtype);
    fill_random(c, ROWS * out, -2, 2, dtype);
    for (int64_t i = 0; i < ROWS * out; i++) z[i / out][i % out] = get(a, i, dtype);
    k->losses.output[loss](a, ROWS, out);
    for (int i = 0; i < ROWS; i++) {
        exact_output(loss, z[i], out, want);
        for (int j = 0; j < out; j++) {
            double is = get(a, i * out + j, dtype);
            CHECK(fabsl(is - want[j]) <= (16 + out) * eps * fabsl(want[j]), "%s %s %s: a = %.17g, not %.17Lg", k->isa,
                  dtype_name(dtype), fbp_loss_name[loss], is, want[j]);
        }
    }
    k->losses.output_grad[loss](a, c, ROWS, out);
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < out; j++) c_row[j] = get(c, i * out + j, dtype);
        exact_output(loss, z[i], out, want);
        for (int j = 0; j < out; j++) {
            long double slope = exact_output_grad(loss, z[i], c_row, out, j);
            double is = get(a, i * out + j, dtype);
            long double slack = ((32 + out) * eps + 1e-10L) * 4 * (1 + fabsl(want[j]));
            CHECK(fabsl(is - slope) <= slack, "%s %s %s, %d outputs: slope %d is %.17g, not %.17Lg", k->isa,
                  dtype_name(dtype), fbp_loss_name[loss], out, j, is, slope);
        }
    }
}

static void outputs_and_their_gradients(fbp_dtype dtype, const fbp_kernels *k) {
    for (int loss = 0; loss < FBP_N_LOSS; loss++)
        for (int s = 0; s < CHECK_N_SIZES; s++)
            check_output(dtype, k, (fbp_loss)loss, CHECK_SIZES[s] * fbp_loss_outputs[loss]);
}

/* A raw deviation of any size gives one that is right, and no variance below the least one. */
static void deviations_of_any_size(fbp_dtype dtype, const fbp_kernels *k) {
    static const double raw[] = {-1e30, -200, -13.8, -1e-3, 0, 1e-3, 30, 170, 1e30};
    for (int i = 0; i < 9; i++) {
        void *z = at_end(block[0], 2, dtype);
        put(z, 0, raw[i], dtype);
        put(z, 1, raw[i], dtype);
        long double s = get(z, 1, dtype), want = s > 0 ? expl(s / 2) * sqrtl(1 + FBP_LEAST_VARIANCE * expl(-s))
                                                       : sqrtl(expl(s) + FBP_LEAST_VARIANCE);
        k->losses.output[FBP_LOSS_gaussian_nll](z, 1, 2);
        CHECK(get(z, 0, dtype) == (double)(dtype == FBP_F32 ? (float)raw[i] : raw[i]), "the mean of %g", raw[i]);
        double is = get(z, 1, dtype);
        CHECK(raw[i] == 1e30 ? isinf(is) : fabsl(is - want) <= 8 * epsilon_of(dtype) * want,
              "%s %s: deviation %.17g of %g, not %.17Lg", k->isa, dtype_name(dtype), is, raw[i], want);
    }
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
        for (int columns = 5; columns <= 40; columns += 7)
            for (int b = 0; b < 3; b++)
                for (int labels = 0; labels <= (loss == FBP_LOSS_log_loss); labels++) {
                    int out = columns * fbp_loss_outputs[loss];
                    int64_t count = 5 * out, place = out * 2 + random_below(out);
                    void *z = at_end(block[0], count, dtype), *clean = at_end(block[1], count, dtype);
                    void *y = at_end(block[2], 5 * columns, dtype);
                    fill_random(z, count, -1, 1, dtype);
                    fill(y, 5 * columns, 1, dtype);
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
    for (int i = 0; i < 3; i++) block[i] = guarded_new(2 * LOSS_ROWS * CHECK_LARGEST * sizeof(double));
    at_every_level(losses_and_their_slopes);
    at_every_level(losses_of_extreme_numbers);
    at_every_level(outputs_and_their_gradients);
    at_every_level(deviations_of_any_size);
    at_every_level(losses_are_clipped_when_asked);
    at_every_level(losses_tell_of_nan);
    at_every_level(losses_tell_of_classes_that_are_none);
    at_every_level(probabilities_of_large_logits);
    for (int i = 0; i < 3; i++) guarded_free(block[i]);
    return check_report("losses");
}
