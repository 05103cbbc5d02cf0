/* The updates of the optimizers: one pass over a slice of the parameters, vector by vector. Included by template.h. */

typedef struct {
    REAL alpha, rate, momentum, b1, b2, c1, c2, epsilon, decay; /* c = 1 - b */
} FN(settings);

/* 1 / (sqrt(v) + epsilon): where the processor has approximations of 1/sqrt and 1/x, by these, bettered by Newton's
 * method to about 2 ulp. They take half the time of its square root and division while the vectors are in cache. */
static inline FN(vec) FN(inverse_root)(FN(vec) v, REAL epsilon) {
#ifdef VEC_RSQRT
    v = VEC_CLAMP(v, SMALLEST, LARGEST); /* of 0 and infinity there is no inverse root */
    FN(vec) y = VEC_RSQRT(v), half = (REAL)0.5 * v;
    EACH(i, NEWTON_STEPS) y = y * ((REAL)1.5 - half * y * y);
    FN(vec) d = v * y + epsilon, q = VEC_RCP(d);
    EACH(i, NEWTON_STEPS) q = q * (2 - d * q);
    return q;
#else
    REAL x[LANES];
    AT(x, 0) = v;
    EACH(i, LANES) x[i] = 1 / (FBP_SQRT(x[i]) + epsilon);
    return AT(x, 0);
#endif
}

/* BODY updates one vector from x, the parameters, and grad, their gradient with weight decay, and stores what it
 * changes at p, s1, s2 (or g). `states` of s1 and s2 are there. Slices stay in the L1 cache; four vectors at a time:
 * one by one costs a small net's step 5%. */
#define UPDATE(name, states, BODY)                                                                               \
    static inline __attribute__((always_inline)) FN(vec)                                                         \
        FN(name##_vector)(REAL *p, REAL *g, REAL *s1, REAL *s2, const FN(settings) * u) {                        \
        FN(vec) x = AT(p, 0), grad = AT(g, 0) + u->alpha * x;                                                    \
        (void)s1, (void)s2;                                                                                      \
        BODY return x * x;                                                                                       \
    }                                                                                                            \
    static double FN(update_##name)(void *p, void *g, void *s1, void *s2, int64_t count, const fbp_update *u) {  \
        const FN(settings) set = {(REAL)u->alpha,  (REAL)u->rate,         (REAL)u->momentum,                     \
                                  (REAL)u->beta_1, (REAL)u->beta_2,       (REAL)(1 - u->beta_1),                 \
                                  (REAL)(1 - u->beta_2), (REAL)u->epsilon,      (REAL)u->decay};                 \
        REAL *const v[4] = {p, g, states > 0 ? s1 : p, states > 1 ? s2 : p};                                                                       \
        double squares = 0;                                                                                      \
        for (int64_t i = 0, end; i < count;) {                                                                   \
            FN(vec) sum = {0};                                                                                   \
            end = count - i < FBP_L1_NUMBERS ? count : i + FBP_L1_NUMBERS;                                       \
            for (; i + 4 * LANES <= end; i += 4 * LANES)                                                         \
                EACH(q, 4) sum += FN(name##_vector)(v[0] + i + q * LANES, v[1] + i + q * LANES,                  \
                                                    v[2] + i + q * LANES, v[3] + i + q * LANES, &set);           \
            for (; i + LANES <= end; i += LANES)                                                                 \
                sum += FN(name##_vector)(v[0] + i, v[1] + i, v[2] + i, v[3] + i, &set);                          \
            if (i < end) {                                                                                       \
                REAL part[4][LANES];                                                                             \
                EACH(q, 2 + states) AT(part[q], 0) = FN(load_part)(v[q] + i, (int)(end - i));                    \
                sum += FN(name##_vector)(part[0], part[1], part[2], part[3], &set);                              \
                EACH(q, 2 + states) if (states ? q != 1 : q == 1)                                                \
                    FN(store_part)(v[q] + i, AT(part[q], 0), (int)(end - i));                                    \
                i = end;                                                                                         \
            }                                                                                                    \
            squares += FN(sum_lanes)(sum);                                                                       \
        }                                                                                                        \
        return u->alpha > 0 ? squares : 0;                                                                       \
    }

UPDATE(none, 0, { AT(g, 0) = grad; })
/* v = momentum v - rate g; p += v (Nesterov: p += momentum v - rate g) */
UPDATE(sgd, 1, {
    FN(vec) v = u->momentum * AT(s1, 0) - u->rate * grad;
    AT(s1, 0) = v;
    AT(p, 0) = x + v;
})
UPDATE(nesterov, 1, {
    FN(vec) v = u->momentum * AT(s1, 0) - u->rate * grad;
    AT(s1, 0) = v;
    AT(p, 0) = x + u->momentum * v - u->rate * grad;
})
/* Kingma and Ba (2014), algorithm 1 with both bias corrections in the rate */
UPDATE(adam, 2, {
    FN(vec) m = u->b1 * AT(s1, 0) + u->c1 * grad;
    FN(vec) v = u->b2 * AT(s2, 0) + u->c2 * (grad * grad);
    AT(s1, 0) = m;
    AT(s2, 0) = v;
    AT(p, 0) = x - u->rate * m * FN(inverse_root)(v, u->epsilon);
})
/* Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2 */
UPDATE(adamw, 2, {
    FN(vec) m = u->b1 * AT(s1, 0) + u->c1 * grad;
    FN(vec) v = u->b2 * AT(s2, 0) + u->c2 * (grad * grad);
    AT(s1, 0) = m;
    AT(s2, 0) = v;
    AT(p, 0) = x - u->decay * x - u->rate * m * FN(inverse_root)(v, u->epsilon);
})
#undef UPDATE

static void FN(average)(void *ema_, const void *p_, int64_t count, double share_) {
    REAL *restrict ema = ema_;
    const REAL *restrict p = p_;
    const REAL share = (REAL)share_;
    for (int64_t i = 0; i < count; i++) ema[i] += share * (p[i] - ema[i]);
}
