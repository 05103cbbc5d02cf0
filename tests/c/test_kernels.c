/* The kernels of every level and dtype: accuracy in ulp against long double, values beyond the range, NaN and
 * infinity, places within a vector, strides, updates against the double loop, and operands that end at a
 * forbidden page; and how the environment leaves out levels. */
#include "check.h"

static guarded block[4]; /* operands that end, or begin, at a forbidden page */

/* distance in units of the last place of the exact value */
static double ulps(double got, long double exact, fbp_dtype dtype) {
    int digits = dtype == FBP_F32 ? FLT_MANT_DIG : DBL_MANT_DIG, lowest = dtype == FBP_F32 ? FLT_MIN_EXP : DBL_MIN_EXP;
    int exponent;
    frexpl(exact, &exponent);
    if (exponent < lowest) exponent = lowest;
    return (double)fabsl(((long double)got - exact) / ldexpl(1, exponent - digits));
}

/* ---- exp, logistic, tanh, log: reached through the tables ------------------------------------------- */

static void run_exp(const fbp_kernels *k, void *to, const void *x, int n, size_t item) {
    memcpy(to, x, (size_t)n * item);
    k->losses.output[FBP_LOSS_poisson](to, 1, n);
}
static void run_logistic(const fbp_kernels *k, void *to, const void *x, int n, size_t item) {
    (void)item;
    k->elementwise.act[FBP_ACT_logistic](to, x, n, 1, n);
}
static void run_output_logistic(const fbp_kernels *k, void *to, const void *x, int n, size_t item) {
    memcpy(to, x, (size_t)n * item);
    k->losses.output[FBP_LOSS_binary_log_loss](to, 1, n);
}
static void run_tanh(const fbp_kernels *k, void *to, const void *x, int n, size_t item) {
    (void)item;
    k->elementwise.act[FBP_ACT_tanh](to, x, n, 1, n);
}
/* log1p(exp(-|x|)): the logistic loss of the right answer */
static void run_log1p_exp(const fbp_kernels *k, void *to, const void *x, int n, size_t item) {
    fbp_dtype dtype = item == sizeof(float) ? FBP_F32 : FBP_F64;
    for (int i = 0; i < n; i++) {
        double z = get(x, i, dtype), right = z > 0, copy;
        put(&copy, 0, z, dtype);
        put(&right, 0, right, dtype);
        fbp_targets targets = {.y = &right, .scale = 1};
        put(to, i, k->losses.loss[FBP_LOSS_binary_log_loss](&copy, &targets, 1, 1), dtype);
    }
}

static long double exact_log1p_exp(long double x) { return log1pl(expl(-fabsl(x))); }

static const struct function {
    const char *name;
    void (*run)(const fbp_kernels *k, void *to, const void *x, int n, size_t item);
    long double (*exact)(long double);
    double bound;                /* ulp; exp and tanh as math_template.h states them */
    double most;                 /* at numbers within it */
    double at_minus_inf, at_inf; /* NaN as a loss: it stops the training */
} FUNCTIONS[] = {
    {"exp", run_exp, expl, 2, INFINITY, 0, INFINITY},
    {"logistic", run_logistic, exact_logistic, 3, INFINITY, 0, 1},
    {"output logistic", run_output_logistic, exact_logistic, 3, INFINITY, 0, 1},
    {"tanh", run_tanh, tanhl, 3, INFINITY, -1, 1},
    {"log1p(exp(-|x|))", run_log1p_exp, exact_log1p_exp, 5, INFINITY, NAN, NAN},
    {"log1p(exp(-|x|))", run_log1p_exp, exact_log1p_exp, 3, 0.95, NAN, NAN}, /* log of 1.39 to 2 */
};
enum { N_FUNCTIONS = sizeof FUNCTIONS / sizeof *FUNCTIONS, BLOCK = 1024, BLOCKS = 48 };

/* Numbers of every size; those near where a polynomial or a branch begins or ends; the range that matters. */
static double interesting(fbp_dtype dtype) {
    double range = dtype == FBP_F32 ? 110 : 760, x;
    switch (random_below(4)) {
    case 0: x = ldexp(random_between(1, 2), (int)random_below(80) - 70); break;
    case 1:
        x = (0.5 * (double)random_below(400)) * 0.69314718055994531 * (1 + random_between(-4, 4) * epsilon_of(dtype));
        break;
    case 2: x = random_between(0, 24); break;
    default: x = random_between(0, range);
    }
    return rounded(random_bits() & 1 ? -x : x, dtype);
}

static void functions_are_accurate(fbp_dtype dtype, const fbp_kernels *k) {
    static double x[BLOCK], y[BLOCK];
    for (int f = 0; f < N_FUNCTIONS; f++) {
        const struct function *fn = &FUNCTIONS[f];
        double worst = 0, worst_x = 0;
        for (int b = 0; b < BLOCKS; b++) {
            for (int i = 0; i < BLOCK; i++) {
                double at = interesting(dtype);
                put(x, i, fabs(at) <= fn->most ? at : random_between(-fn->most, fn->most), dtype);
            }
            fn->run(k, y, x, BLOCK, item_of(dtype));
            for (int i = 0; i < BLOCK; i++) {
                double at = get(x, i, dtype), got = get(y, i, dtype), error = 0;
                long double exact = fn->exact(at);
                if (fabsl(exact) > largest(dtype))
                    CHECK(isinf(got), "%s %s %s(%.17g) = %g", k->isa, dtype_name(dtype), fn->name, at, got);
                else if (fabsl(exact) < 2 * smallest_normal(dtype)) /* may be flushed to 0 */
                    CHECK(fabs(got) <= 2.0000001 * smallest_normal(dtype), "%s %s %s(%.17g) = %g", k->isa,
                          dtype_name(dtype), fn->name, at, got);
                else
                    error = ulps(got, exact, dtype);
                if (!(error <= worst)) {
                    worst = error;
                    worst_x = at;
                }
            }
        }
        CHECK(worst <= fn->bound, "%s %s %s: %.2f ulp at %.17g", k->isa, dtype_name(dtype), fn->name, worst, worst_x);
        if (getenv("VERBOSE"))
            printf("%-9s%-7s%-18s%.2f ulp at %.9g\n", k->isa, dtype_name(dtype), fn->name, worst, worst_x);
    }
}

static void functions_have_limits(fbp_dtype dtype, const fbp_kernels *k) {
    double big = largest(dtype);
    for (int f = 0; f < N_FUNCTIONS; f++) {
        const struct function *fn = &FUNCTIONS[f];
        double x[16] = {0}, y[16];
        const double in[] = {NAN, INFINITY, -INFINITY, big, -big, 0};
        const double out[] = {
            NAN, fn->at_inf, fn->at_minus_inf, (double)fn->exact(big), (double)fn->exact(-big), (double)fn->exact(0)};
        for (int place = 0; place < 11; place++)
            for (int c = 0; c < 6; c++) {
                fill(x, 16, 0.25, dtype);
                put(x, place, in[c], dtype);
                fn->run(k, y, x, 16, item_of(dtype));
                double got = get(y, place, dtype), want = rounded(out[c], dtype);
                CHECK(same_kind(got, want) && (isnan(want) || isinf(want) || fabs(got - want) <= epsilon_of(dtype)),
                      "%s %s %s(%g) = %g", k->isa, dtype_name(dtype), fn->name, in[c], got);
                double beside = get(y, place + 1, dtype);
                CHECK(ulps(beside, fn->exact(0.25), dtype) <= fn->bound, "%s %s %s(%g): its neighbour is %g", k->isa,
                      dtype_name(dtype), fn->name, in[c], beside);
            }
    }
}

/* A number is the same to the bit wherever it stands: the basis of "the same bits for any number of threads". */
static void values_do_not_depend_on_their_place(fbp_dtype dtype, const fbp_kernels *k) {
    double x[256], all[256], part[256];
    size_t item = item_of(dtype);
    for (int f = 0; f < N_FUNCTIONS; f++) {
        for (int i = 0; i < 192; i++) put(x, i, random_between(-12, 12), dtype);
        FUNCTIONS[f].run(k, all, x, 192, item);
        for (int start = 0; start < 34; start++)
            for (int n = 1; n < 100; n++) {
                FUNCTIONS[f].run(k, part, (char *)x + (size_t)start * item, n, item);
                CHECK(memcmp(part, (char *)all + (size_t)start * item, (size_t)n * item) == 0, "%s %s %s: %d from %d",
                      k->isa, dtype_name(dtype), FUNCTIONS[f].name, n, start);
            }
    }
}

/* ---- activations ------------------------------------------------------------------------------------ */

enum { ACT_ULPS = 8, SLOPE_ULPS = 8, SLOPE_EPS = 4 };

/* gelu of float has the error of exp(-z^2/2) of a z^2 that is rounded: half an ulp of it in the exponent, and as much
 * again that its coefficients are allowed */
static double rounded_square(fbp_activation act, fbp_dtype dtype, double z) {
    return act == FBP_ACT_gelu && dtype == FBP_F32 && fabs(z) < 15 ? z * z : 0;
}

/* f of numbers of every size in ulp; f' by its largest value, and far from 0, where no sum may cancel, in ulp too */
static void activations_are_accurate(fbp_dtype dtype, const fbp_kernels *k) {
    static double z[BLOCK], a[BLOCK], slope[BLOCK];
    double tiny = smallest_normal(dtype);
    for (int act = 0; act < FBP_N_ACT; act++)
        for (int b = 0; b < BLOCKS; b++) {
            for (int i = 0; i < BLOCK; i++) put(z, i, interesting(dtype), dtype);
            fill(slope, BLOCK, 1, dtype);
            k->elementwise.act[act](a, z, BLOCK, 1, BLOCK);
            k->elementwise.derive[act](slope, BLOCK, z, BLOCK, 1, BLOCK);
            for (int i = 0; i < BLOCK; i++) {
                double at = get(z, i, dtype), value = get(a, i, dtype), d = get(slope, i, dtype);
                long double want = exact_act(act, at), want_slope = exact_slope(act, at);
                double more = rounded_square(act, dtype, at);
                int flushed = fabsl(want) < 2 * tiny && fabs(value) <= 2.0000001 * tiny;
                CHECK(flushed || ulps(value, want, dtype) <= ACT_ULPS + more, "%s %s %s(%.9g) = %.17g: %.1f ulp",
                      k->isa, dtype_name(dtype), fbp_activation_name[act], at, value, ulps(value, want, dtype));
                CHECK(fabsl(d - want_slope) <= SLOPE_EPS * epsilon_of(dtype), "%s %s %s'(%.9g) = %.17g, not %.17Lg",
                      k->isa, dtype_name(dtype), fbp_activation_name[act], at, d, want_slope);
                if (act > FBP_ACT_relu && fabs(at) > 4 && fabsl(want_slope) > 256 * tiny)
                    CHECK(ulps(d, want_slope, dtype) <= SLOPE_ULPS + more, "%s %s %s'(%.9g) = %.17g: %.1f ulp", k->isa,
                          dtype_name(dtype), fbp_activation_name[act], at, d, ulps(d, want_slope, dtype));
            }
        }
}

/* Where powers of z would overflow; the largest number itself may be rounded to infinity. */
static void activations_have_limits(fbp_dtype dtype, const fbp_kernels *k) {
    double big = largest(dtype) / 2, tiny = 4 * smallest_normal(dtype);
    const double sizes[] = {1e5, sqrt(big), big};
    for (int act = 0; act < FBP_N_ACT; act++)
        for (int s = 0; s < 6; s++) {
            double z = rounded(s < 3 ? sizes[s] : -sizes[s - 3], dtype), at[16], a[16], d[16];
            fill(at, 16, z, dtype);
            fill(d, 16, 1, dtype);
            k->elementwise.act[act](a, at, 16, 1, 16);
            k->elementwise.derive[act](d, 16, at, 16, 1, 16);
            double want = (double)exact_act(act, z), want_slope = (double)exact_slope(act, z);
            double value = get(a, 9, dtype), slope = get(d, 9, dtype);
            CHECK(fabs(value - want) <= 2 * epsilon_of(dtype) * fabs(want) + tiny, "%s %s %s(%g) = %g", k->isa,
                  dtype_name(dtype), fbp_activation_name[act], z, value);
            CHECK(fabs(slope - want_slope) <= 2 * epsilon_of(dtype) * fabs(want_slope) + tiny, "%s %s %s'(%g) = %g",
                  k->isa, dtype_name(dtype), fbp_activation_name[act], z, slope);
        }
}

/* act and derive over rows that lie apart; what lies between them stays, NaN and infinity go through */
static void activations_and_slopes(fbp_dtype dtype, const fbp_kernels *k) {
    double eps = epsilon_of(dtype);
    for (int act = 0; act < FBP_N_ACT; act++)
        for (int s = 0; s < CHECK_N_SIZES; s++)
            for (int gap = 0; gap < 4; gap += 3) {
                int cols = CHECK_SIZES[s], n = 3, ldz = cols + gap, ld = cols + 2 * gap;
                int64_t count_z = (n - 1) * ldz + cols, count_dz = (n - 1) * ld + cols;
                void *z = at_end(block[0], count_z, dtype), *a = at_end(block[1], n * cols, dtype);
                void *dz = at_end(block[2], count_dz, dtype);
                for (int r = 0; r < n; r++)
                    for (int j = 0; j < cols; j++) {
                        put(z, r * ldz + j, random_between(-6, 6), dtype);
                        put(dz, r * ld + j, random_between(-2, 2), dtype);
                    }
                int at_r = (int)random_below(n), at_j = (int)random_below(cols);
                double special[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1}, odd = special[random_below(6)];
                put(z, at_r * ldz + at_j, odd, dtype);
                double *before = malloc((size_t)count_dz * sizeof(double));
                for (int64_t i = 0; i < count_dz; i++) before[i] = get(dz, i, dtype);

                k->elementwise.act[act](a, z, ldz, n, cols);
                k->elementwise.derive[act](dz, ld, z, ldz, n, cols);
                for (int r = 0; r < n; r++)
                    for (int j = 0; j < cols; j++) {
                        double zz = get(z, r * ldz + j, dtype), d = before[r * ld + j];
                        double value = get(a, r * cols + j, dtype), slope = get(dz, r * ld + j, dtype);
                        double bound = (ACT_ULPS + rounded_square(act, dtype, zz)) * eps;
                        double want = (double)exact_act(act, zz), want_slope = d * (double)exact_slope(act, zz);
                        CHECK(
                            same_kind(value, want) &&
                                (!isfinite(want) || fabs(value - want) <= bound * fabs(want) + smallest_normal(dtype)),
                            "%s %s %s(%g) = %.17g", k->isa, dtype_name(dtype), fbp_activation_name[act], zz, value);
                        if (act == FBP_ACT_relu && isnan(zz)) want_slope = d; /* not <= 0 */
                        CHECK(same_kind(slope, want_slope) &&
                                  (!isfinite(want_slope) || fabs(slope - want_slope) <= 8 * eps * fabs(d)),
                              "%s %s %s'(%g) * %g = %.17g", k->isa, dtype_name(dtype), fbp_activation_name[act], zz, d,
                              slope);
                    }
                for (int r = 0; r + 1 < n; r++)
                    for (int j = cols; j < ld; j++)
                        CHECK(isnan(get(dz, r * ld + j, dtype)), "%s %s %s: column %d of %d", k->isa, dtype_name(dtype),
                              fbp_activation_name[act], j, cols);
                free(before);
            }
}

static void relu_lets_nan_through(fbp_dtype dtype, const fbp_kernels *k) {
    for (int n = 1; n <= 40; n++)
        for (int place = 0; place < n; place++) {
            void *z = at_end(block[0], n, dtype), *a = at_end(block[1], n, dtype), *dz = at_end(block[2], n, dtype);
            fill(z, n, -1, dtype);
            fill(dz, n, 3, dtype);
            put(z, place, NAN, dtype);
            k->elementwise.act[FBP_ACT_relu](a, z, n, 1, n);
            k->elementwise.derive[FBP_ACT_relu](dz, n, z, n, 1, n);
            for (int i = 0; i < n; i++) {
                CHECK(i == place ? isnan(get(a, i, dtype)) : get(a, i, dtype) == 0, "%s relu, %d of %d", k->isa, i, n);
                CHECK(get(dz, i, dtype) == (i == place ? 3 : 0), "%s relu', %d of %d", k->isa, i, n);
            }
            fill(z, n, 0, dtype);
            fill(dz, n, NAN, dtype);
            k->elementwise.derive[FBP_ACT_relu](dz, n, z, n, 1, n);
            CHECK(get(dz, place, dtype) == 0, "%s relu' at 0 stops whatever comes", k->isa);
        }
}

static void column_sums_are_the_sums(fbp_dtype dtype, const fbp_kernels *k) {
    double eps = epsilon_of(dtype), alone;
    size_t item = item_of(dtype);
    for (int s = 0; s < CHECK_N_SIZES; s++)
        for (int n = 1; n <= 13; n += 4) {
            int out = CHECK_SIZES[s];
            void *z = at_end(block[0], n * out, dtype);
            fill_random(z, n * out, -1, 1, dtype);
            int j0 = (int)random_below(out), j1 = j0 + 1 + (int)random_below(out - j0);
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                void *db = at_end(block[1], out, dtype);
                if (accumulate) fill(db, out, 2, dtype);
                k->elementwise.column_sums((char *)db + (size_t)j0 * item, (char *)z + (size_t)j0 * item, out, n,
                                           j1 - j0, accumulate);
                for (int j = 0; j < out; j++) {
                    double sum = 2.0 * accumulate, got = get(db, j, dtype);
                    for (int i = 0; i < n; i++) sum += get(z, i * out + j, dtype);
                    if (j < j0 || j >= j1)
                        CHECK(accumulate ? got == 2 : isnan(got), "%s column %d is not of %d..%d", k->isa, j, j0, j1);
                    else
                        CHECK(fabs(got - sum) <= (n + 2) * eps * 2 * (n + 2), "%s column %d: %g, not %g", k->isa, j,
                              got, sum);
                }
                for (int j = j0; j < j1; j++) { /* the order of a sum depends on n alone */
                    put(&alone, 0, 2, dtype);
                    k->elementwise.column_sums(&alone, (char *)z + (size_t)j * item, out, n, 1, accumulate);
                    CHECK(same_bits(&alone, (char *)db + (size_t)j * item, 1, dtype),
                          "%s column %d of %d..%d has other bits alone", k->isa, j, j0, j1);
                }
            }
        }
}

/* ---- dropout ---------------------------------------------------------------------------------------------- */

static int last_bit(const void *z, int64_t i, fbp_dtype dtype) {
    return *((const unsigned char *)z + (size_t)i * item_of(dtype)) & 1; /* little-endian, as all levels are */
}

/* The last bit of every number says what is dropped, and no other bit changes; in pieces the marks are the same. */
static void marks_are_last_bits(fbp_dtype dtype, const fbp_kernels *k) {
    static const double shares[] = {0.5, 0.1, 0.99, 1e-9};
    size_t item = item_of(dtype);
    for (int s = 0; s < CHECK_N_SIZES; s++)
        for (int n = 1; n <= 5; n += 2) {
            int cols = CHECK_SIZES[s], half = (int)random_below(n + 1);
            int64_t count = (int64_t)n * cols;
            fbp_drop drop = random_drop(shares[s % 4]), second = drop;
            unsigned char *z = at_end(block[0], count, dtype), *before = malloc((size_t)count * item);
            fill_random(z, count, -2, 2, dtype);
            put(z, random_below(count), 0, dtype);
            memcpy(before, z, (size_t)count * item);
            if (n == 5) { /* by two threads */
                second.row += half;
                k->elementwise.mark(z + (size_t)(half * cols) * item, n - half, cols, &second);
                k->elementwise.mark(z, half, cols, &drop);
            } else {
                k->elementwise.mark(z, n, cols, &drop);
            }
            for (int64_t i = 0; i < count; i++) {
                int want = exact_dropped(&drop, i / cols, (int)(i % cols));
                CHECK(last_bit(z, i, dtype) == want, "%s %s mark %ld of %d x %d", k->isa, dtype_name(dtype), (long)i, n,
                      cols);
                z[(size_t)i * item] = (unsigned char)((z[(size_t)i * item] & ~1) | (before[(size_t)i * item] & 1));
            }
            CHECK(memcmp(z, before, (size_t)count * item) == 0, "%s %s: a mark changes other bits", k->isa,
                  dtype_name(dtype));
            free(before);
        }
}

/* Rows that lie apart, or x in place of z: marked numbers become 0 whatever they are, the others are scaled. */
static void drop_clears_what_is_marked(fbp_dtype dtype, const fbp_kernels *k) {
    const double special[] = {NAN, INFINITY, -INFINITY, -0.0, 3};
    for (int s = 0; s < CHECK_N_SIZES; s++)
        for (int gap = 0; gap < 4; gap++) {
            int cols = CHECK_SIZES[s], n = 3, in_place = gap == 1, ldz = cols + gap,
                ldx = in_place ? ldz : cols + 2 * gap;
            double scale = rounded(1 / 0.7, dtype);
            int64_t count_z = (n - 1) * ldz + cols, count_x = (n - 1) * ldx + cols;
            void *z = at_end(block[0], count_z, dtype), *x = in_place ? z : at_end(block[1], count_x, dtype);
            double *before = malloc((size_t)count_x * sizeof(double));
            int *marked = malloc((size_t)(n * cols) * sizeof(int));
            for (int i = 0; i < n * cols; i++) put(z, i / cols * ldz + i % cols, random_between(-2, 2), dtype);
            for (int i = 0; i < n * cols && !in_place; i++)
                put(x, i / cols * ldx + i % cols, random_below(4) ? random_between(-2, 2) : special[random_below(5)],
                    dtype);
            for (int64_t i = 0; i < count_x; i++) before[i] = get(x, i, dtype);
            for (int i = 0; i < n * cols; i++) marked[i] = last_bit(z, i / cols * ldz + i % cols, dtype);
            k->elementwise.drop(x, ldx, z, ldz, n, cols, scale);
            for (int64_t i = 0; i < count_x; i++) {
                int r = (int)(i / ldx), j = (int)(i % ldx);
                double got = get(x, i, dtype), want = before[i];
                if (j < cols) want = marked[r * cols + j] ? 0 : rounded(before[i] * scale, dtype);
                CHECK(same_kind(got, want) && (isnan(want) || got == want),
                      "%s %s drop, row %d, column %d of %d, %d apart: %.17g, not %.17g", k->isa, dtype_name(dtype), r,
                      j, cols, ldx, got, want);
            }
            free(before);
            free(marked);
        }
}

/* ---- short loops ------------------------------------------------------------------------------------------ */

static void scale_and_average_are_the_loops(fbp_dtype dtype, const fbp_kernels *k) {
    double eps = epsilon_of(dtype), share = rounded(0.01, dtype), factor = rounded(0.37, dtype);
    for (int s = 0; s < CHECK_N_SIZES; s++) {
        int n = CHECK_SIZES[s];
        void *ema = at_end(block[0], n, dtype), *p = at_start(block[1], n, s % 4, dtype),
             *x = at_end(block[2], n, dtype);
        double before[CHECK_LARGEST];
        fill_random(ema, n, -1, 1, dtype);
        fill_random(p, n, -1, 1, dtype);
        fill_random(x, n, -1, 1, dtype);
        put(x, n / 2, 0, dtype);
        for (int i = 0; i < n; i++) before[i] = get(x, i, dtype);
        k->elementwise.scale(x, n, factor);
        for (int i = 0; i < n; i++)
            CHECK(get(x, i, dtype) == rounded(before[i] * factor, dtype), "%s scale %d of %d", k->isa, i, n);
        for (int i = 0; i < n; i++) before[i] = get(ema, i, dtype);
        k->optim.average(ema, p, n, share);
        for (int i = 0; i < n; i++) {
            double want = before[i] + share * (get(p, i, dtype) - before[i]), got = get(ema, i, dtype);
            CHECK(fabs(got - want) <= 2 * eps, "%s average %d of %d: %.17g, not %.17g", k->isa, i, n, got, want);
        }
    }
}

/* With and without weights of the rows: the slopes get both factors, the losses the weight alone. */
static void weigh_is_the_loop(fbp_dtype dtype, const fbp_kernels *k) {
    double eps = epsilon_of(dtype);
    for (int s = 0; s < CHECK_N_SIZES; s++)
        for (int weighted = 0; weighted < 2; weighted++) {
            int out = CHECK_SIZES[s], n = 4;
            void *dz = at_end(block[0], n * out, dtype);
            double *weight = at_end(block[1], n, FBP_F64), *loss = at_end(block[2], n, FBP_F64);
            double *before = malloc((size_t)(n * out) * sizeof(double)), sum = 0;
            fill_random(dz, n * out, -1, 1, dtype);
            fill_random(loss, n, 0, 2, FBP_F64);
            fill_random(weight, n, 0, 3, FBP_F64);
            for (int i = 0; i < n * out; i++) before[i] = get(dz, i, dtype);
            fbp_targets targets = {.weight = weighted ? weight : NULL, .scale = 0.125};
            double got = k->losses.weigh(dz, loss, &targets, n, out);
            for (int i = 0; i < n * out; i++) {
                double w = weighted ? weight[i / out] : 1, want = before[i] * w * 0.125;
                CHECK(fabs(get(dz, i, dtype) - want) <= 2 * eps * fabs(want), "%s weigh %d of %d x %d", k->isa, i, n,
                      out);
                if (i % out == 0) sum += w * loss[i / out];
            }
            CHECK(fabs(got - sum) <= 8 * DBL_EPSILON * sum, "%s weigh: %.17g, not %.17g", k->isa, got, sum);
            free(before);
        }
}

/* ---- updates ---------------------------------------------------------------------------------------------- */

static void updates_equal_the_double_loop(fbp_dtype dtype, const fbp_kernels *k) {
    static const int counts[] = {1,  2,  3,  7,  8,  9,    15,   16,   17,   31,  32,
                                 33, 63, 64, 65, 67, 1023, 1024, 1025, 2049, 3000};
    static const double scales[] = {1, 1e-14, 1e-5, 1e6}; /* of gradients and states */
    double eps = epsilon_of(dtype);
    for (int opt = 0; opt < FBP_N_OPT; opt++)
        for (int c = 0; c < (int)(sizeof counts / sizeof *counts); c++)
            for (int decay = 0; decay < 2; decay++) {
                int n = counts[c], states = fbp_optimizer_states[opt];
                double bounds[] = {1, scales[c % 4], scales[c % 4], scales[c % 4] * scales[c % 4]};
                void *v[4];
                for (int i = 0; i < 4; i++) {
                    v[i] = i % 2 ? at_start(block[i], n, c % 4, dtype) : at_end(block[i], n, dtype);
                    fill_random(v[i], n, i == 3 ? 0 : -bounds[i], bounds[i], dtype);
                }
                put(v[3], n / 2, 0, dtype); /* as at the first step, and where no gradient ever came */
                for (int i = 1; i < 4; i++) put(v[i], n / 3, 0, dtype);
                fbp_update u = {.alpha = 0.01 * decay,
                                .rate = 0.003,
                                .momentum = 0.9,
                                .beta_1 = 0.9,
                                .beta_2 = 0.999,
                                .epsilon = 1e-8,
                                .decay = c % 2 ? 3e-5 : 0};
                for (int step = 0; step < 3; step++) {
                    double *before[4], squares = 0;
                    for (int i = 0; i < 4; i++) {
                        before[i] = malloc((size_t)n * sizeof(double));
                        for (int j = 0; j < n; j++) before[i][j] = get(v[i], j, dtype);
                    }
                    double got =
                        k->optim.update[opt](v[0], v[1], states > 0 ? v[2] : NULL, states > 1 ? v[3] : NULL, n, &u);
                    for (int i = 0; i < n; i++) {
                        double p = before[0][i], g = before[1][i], s1 = before[2][i], s2 = before[3][i], move = 0;
                        double size = fabs(g) + u.alpha * fabs(p); /* what rounding errors are measured by */
                        squares += p * p;
                        g += u.alpha * p;
                        if (opt == FBP_OPT_sgd || opt == FBP_OPT_nesterov) {
                            size = u.momentum * fabs(s1) + u.rate * size;
                            s1 = u.momentum * s1 - u.rate * g;
                            move = opt == FBP_OPT_sgd ? s1 : u.momentum * s1 - u.rate * g;
                            CHECK(fabs(get(v[2], i, dtype) - s1) <= 8 * eps * size, "%s %s velocity %d of %d", k->isa,
                                  fbp_optimizer_name[opt], i, n);
                        } else if (opt == FBP_OPT_adam || opt == FBP_OPT_adamw) {
                            double size1 = u.beta_1 * fabs(s1) + (1 - u.beta_1) * size;
                            s1 = u.beta_1 * s1 + (1 - u.beta_1) * g;
                            s2 = u.beta_2 * s2 + (1 - u.beta_2) * g * g;
                            move = -u.rate * s1 / (sqrt(s2) + u.epsilon);
                            if (opt == FBP_OPT_adamw) move -= u.decay * p;
                            CHECK(fabs(get(v[2], i, dtype) - s1) <= 8 * eps * size1, "%s %s m %d of %d", k->isa,
                                  fbp_optimizer_name[opt], i, n);
                            CHECK(fabs(get(v[3], i, dtype) - s2) <=
                                      8 * eps * (s2 + size * size) + smallest_normal(dtype),
                                  "%s %s v %d of %d", k->isa, fbp_optimizer_name[opt], i, n);
                            size = u.rate * size1 / (sqrt(s2) + u.epsilon) * (1 + size * size / (s2 + 1e-300));
                        }
                        double p_got = get(v[0], i, dtype), g_got = get(v[1], i, dtype);
                        if (opt == FBP_OPT_none)
                            CHECK(fabs(g_got - g) <= 4 * eps * size && p_got == p, "%s none %d of %d", k->isa, i, n);
                        else
                            CHECK(fabs(p_got - (p + move)) <= 2 * eps * fabs(p) + 16 * eps * size,
                                  "%s %s %s %d of %d: %.17g, not %.17g", k->isa, dtype_name(dtype),
                                  fbp_optimizer_name[opt], i, n, p_got, p + move);
                    }
                    CHECK(decay ? fabs(got - squares) <= 64 * eps * squares : got == 0,
                          "%s %s squares of %d: %.17g, not %.17g", k->isa, fbp_optimizer_name[opt], n, got, squares);
                    double sum = k->elementwise.square_sum(v[0], n), exact = 0;
                    for (int i = 0; i < n; i++) exact += get(v[0], i, dtype) * get(v[0], i, dtype);
                    CHECK(fabs(sum - exact) <= 64 * eps * exact, "%s square sum of %d", k->isa, n);
                    for (int i = 0; i < 4; i++) free(before[i]);
                }
            }
}

/* ---- dispatch --------------------------------------------------------------------------------------------- */

static void levels_are_left_out_by_name(void) {
    const char *all[4], *left[4];
    char *given = getenv("FASTBP_DISABLE_CPU") ? strdup(getenv("FASTBP_DISABLE_CPU")) : NULL;
    unsetenv("FASTBP_DISABLE_CPU");
    int n = fbp_cpu_levels(all);
    CHECK(n >= 1 && strcmp(all[n - 1], "baseline") == 0, "%d levels", n);
    const char *nothing[] = {"", ",", "avx", "avx5", "avx5122", "avx22", "xavx2", "AVX2", "baseline", "sse2", " "};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        setenv("FASTBP_DISABLE_CPU", nothing[i], 1);
        CHECK(fbp_cpu_levels(left) == n, "\"%s\" leaves out a level", nothing[i]);
    }
    const char *everything[] = {"avx512,avx2", " avx2 , avx512 ", "avx2 avx512", "sse9,avx512,,avx2,"};
    for (size_t i = 0; i < sizeof everything / sizeof *everything; i++) {
        setenv("FASTBP_DISABLE_CPU", everything[i], 1);
        CHECK(fbp_cpu_levels(left) == 1 && strcmp(left[0], "baseline") == 0, "\"%s\" leaves %s", everything[i],
              left[0]);
        for (fbp_dtype dtype = FBP_F32; dtype <= FBP_F64; dtype++)
            CHECK(strcmp(fbp_kernels_of(dtype)->isa, "baseline") == 0, "%s", fbp_kernels_of(dtype)->isa);
    }
    for (int i = 0; i + 1 < n; i++) {
        setenv("FASTBP_DISABLE_CPU", all[i], 1);
        CHECK(fbp_cpu_levels(left) == n - 1, "%s stays", all[i]);
        for (int j = 0; j < n - 1; j++) CHECK(strcmp(left[j], all[i]), "%s stays", all[i]);
    }
    if (given)
        setenv("FASTBP_DISABLE_CPU", given, 1);
    else
        unsetenv("FASTBP_DISABLE_CPU");
    free(given);
}

static void every_name_is_there(void) {
    for (int i = 0; i < FBP_N_STATUS; i++) CHECK(fbp_status_text[i] && fbp_status_exception[i], "status %d", i);
    for (int i = 0; i < FBP_N_ACT; i++) CHECK(fbp_activation_name[i][0], "activation %d", i);
    for (int i = 0; i < FBP_N_LOSS; i++) CHECK(fbp_loss_name[i][0], "loss %d", i);
    for (int i = 0; i < FBP_N_OPT; i++)
        CHECK(fbp_optimizer_name[i][0] && fbp_optimizer_states[i] >= 0 && fbp_optimizer_states[i] <= 2, "optimizer %d",
              i);
}

int main(void) {
    for (int i = 0; i < 4; i++) block[i] = guarded_new(3100 * sizeof(double));
    levels_are_left_out_by_name();
    every_name_is_there();
    at_every_level(functions_are_accurate);
    at_every_level(functions_have_limits);
    at_every_level(values_do_not_depend_on_their_place);
    at_every_level(activations_are_accurate);
    at_every_level(activations_have_limits);
    at_every_level(activations_and_slopes);
    at_every_level(relu_lets_nan_through);
    at_every_level(column_sums_are_the_sums);
    at_every_level(marks_are_last_bits);
    at_every_level(drop_clears_what_is_marked);
    at_every_level(scale_and_average_are_the_loops);
    at_every_level(weigh_is_the_loop);
    at_every_level(updates_equal_the_double_loop);
    for (int i = 0; i < 4; i++) guarded_free(block[i]);
    return check_report("kernels");
}
