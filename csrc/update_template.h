/* Sums, and the updates of the optimizers: one pass over a slice of the parameters. Included by
 * kernels_template.h. */

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
static inline __attribute__((always_inline)) FN(vec)
    FN(adam_vector)(REAL *p, const REAL *g, REAL *s1, REAL *s2, const int decay, REAL alpha, REAL rate,
                    REAL b1, REAL b2, REAL c1, REAL c2, REAL epsilon) {
    FN(vec) x = AT(p, 0), grad = AT((REAL *)g, 0), none = {0};
    if (decay)
        grad += alpha * x;
    FN(vec) m1 = b1 * AT(s1, 0) + c1 * grad;
    FN(vec) v1 = b2 * AT(s2, 0) + c2 * (grad * grad);
    AT(s1, 0) = m1;
    AT(s2, 0) = v1;
    FN(vec) v = VEC_CLAMP(v1, SMALLEST, LARGEST); /* of 0 and infinity there is no inverse root */
    FN(vec) y = VEC_RSQRT(v), half = (REAL)0.5 * v;
    FBP_UNROLL for (int i = 0; i < NEWTON_STEPS; i++) y = y * ((REAL)1.5 - half * y * y);
    FN(vec) d = v * y + epsilon;
    FN(vec) q = VEC_RCP(d);
    FBP_UNROLL for (int i = 0; i < NEWTON_STEPS; i++) q = q * (2 - d * q);
    AT(p, 0) = x - rate * m1 * q;
    return decay ? x * x : none;
}

/* `decay`, a constant, tells whether alpha > 0: nets without it are spared its work */
static inline __attribute__((always_inline)) double FN(adam_slice)(REAL *p, const REAL *g, REAL *s1, REAL *s2,
                                                                   int64_t count, const fbp_update *u,
                                                                   const int decay) {
    const REAL alpha = (REAL)u->alpha, rate = (REAL)u->rate, epsilon = (REAL)u->epsilon;
    const REAL b1 = (REAL)u->beta_1, b2 = (REAL)u->beta_2, c1 = (REAL)(1 - u->beta_1), c2 = (REAL)(1 - u->beta_2);
    double squares = 0;
#define ADAM(p, g, s1, s2) FN(adam_vector)(p, g, s1, s2, decay, alpha, rate, b1, b2, c1, c2, epsilon)
    for (int64_t start = 0; start < count; start += 1024) {
        int64_t end = count - start < 1024 ? count : start + 1024, i = start;
        FN(vec) sum = {0};
        for (; i + 4 * LANES <= end; i += 4 * LANES) /* one by one: 5% slower for the step of a small net */
            FBP_UNROLL for (int64_t k = i; k < i + 4 * LANES; k += LANES) sum += ADAM(p + k, g + k, s1 + k, s2 + k);
        for (; i + LANES <= end; i += LANES) sum += ADAM(p + i, g + i, s1 + i, s2 + i);
        if (i < end) {
            REAL part[4][LANES];
            int left = (int)(end - i);
            AT(part[0], 0) = FN(load_part)(p + i, left);
            AT(part[1], 0) = FN(load_part)(g + i, left);
            AT(part[2], 0) = FN(load_part)(s1 + i, left);
            AT(part[3], 0) = FN(load_part)(s2 + i, left);
            sum += ADAM(part[0], part[1], part[2], part[3]);
            FN(store_part)(p + i, AT(part[0], 0), left);
            FN(store_part)(s1 + i, AT(part[2], 0), left);
            FN(store_part)(s2 + i, AT(part[3], 0), left);
        }
        if (decay)
            squares += FN(sum_lanes)(sum);
    }
#undef ADAM
    return squares;
}

static double FN(update_adam)(void *p, void *g, void *s1, void *s2, int64_t count, const fbp_update *u) {
    return u->alpha > 0 ? FN(adam_slice)(p, g, s1, s2, count, u, 1) : FN(adam_slice)(p, g, s1, s2, count, u, 0);
}
#endif
#undef UPDATE
