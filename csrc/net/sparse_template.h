/* The products of a sparse first layer, which touch the entries of X only. A source hands them out a few at a time, in
 * one type of index and value; columns outside of W are left out. Included by kernels/template.h. */

/* z(nv vectors of a row) += sum over entries of value * W(column, the same columns) */
#define ADD_ENTRIES(TYPE)                                                                                       \
    static inline __attribute__((always_inline)) void FN(add_entries_##TYPE)(                                   \
        const int nv, REAL *z, const TYPE *W, int in, int out, const int *column, const REAL *value, int count) { \
        FN(vec) acc[8];                                                                                         \
        EACH(v, nv) acc[v] = AT(z, v * LANES);                                                                  \
        for (int k = 0; k < count; k++) {                                                                       \
            if ((unsigned)column[k] >= (unsigned)in) continue;                                                  \
            const TYPE *w = W + (int64_t)column[k] * out;                                                       \
            EACH(v, nv) acc[v] += value[k] * FN(wide_##TYPE)(w + v * LANES);                                    \
        }                                                                                                       \
        EACH(v, nv) AT(z, v * LANES) = acc[v];                                                                  \
    }
EACH_WEIGHT_TYPE(ADD_ENTRIES)
#undef ADD_ENTRIES

/* Runs BODY for every piece of the entries of row i: `count` of `column` and `value`, without what `drop` drops. */
#define EACH_ENTRIES(i, BODY)                                                                       \
    for (int64_t start = 0;; start += FBP_ENTRIES_AT_ONCE) {                                        \
        int count = s->kind->entries(s, sizeof(REAL) == 4 ? FBP_F32 : FBP_F64, i, start, column, value); \
        if (drop) FN(drop_entries)(value, column, count, drop, (i) - first);                        \
        BODY                                                                                        \
        if (count < FBP_ENTRIES_AT_ONCE)                                                            \
            break;                                                                                  \
    }

#define FORWARD(TYPE)                                                                                           \
    static void FN(sparse_forward_##TYPE)(void *z_, const fbp_source *s, int64_t first, int64_t n,              \
                                          const void *W_, const void *b, int out, const fbp_drop *drop) {       \
        const TYPE *W = W_;                                                                                     \
        int column[FBP_ENTRIES_AT_ONCE], in = s->data->features;                                                \
        REAL value[FBP_ENTRIES_AT_ONCE];                                                                        \
        for (int64_t i = 0; i < n; i++) {                                                                       \
            REAL *z = (REAL *)z_ + i * out;                                                                     \
            for (int j = 0; j < out; j++) z[j] = ((const TYPE *)b)[j];                                          \
            EACH_ENTRIES(first + i, {                                                                           \
                int j = 0;                                                                                      \
                for (; j + 8 * LANES <= out; j += 8 * LANES)                                                    \
                    FN(add_entries_##TYPE)(8, z + j, W + j, in, out, column, value, count);                     \
                for (; j + 4 * LANES <= out; j += 4 * LANES)                                                    \
                    FN(add_entries_##TYPE)(4, z + j, W + j, in, out, column, value, count);                     \
                for (; j + LANES <= out; j += LANES)                                                            \
                    FN(add_entries_##TYPE)(1, z + j, W + j, in, out, column, value, count);                     \
                for (; j < out; j++)                                                                            \
                    for (int k = 0; k < count; k++)                                                             \
                        if ((unsigned)column[k] < (unsigned)in)                                                 \
                            z[j] += value[k] * W[(int64_t)column[k] * out + j];                                 \
            })                                                                                                  \
        }                                                                                                       \
    }
EACH_WEIGHT_TYPE(FORWARD)
#undef FORWARD

static void FN(sparse_weight_grad)(void *dW_, const void *dz, int nr, const fbp_source *s, int64_t first, int64_t n,
                                   int i0, int i1, int out, int accumulate, const fbp_drop *drop) {
    REAL *dW = dW_;
    int column[FBP_ENTRIES_AT_ONCE];
    REAL value[FBP_ENTRIES_AT_ONCE];
    if (!accumulate) memset(dW, 0, (size_t)(i1 - i0) * (size_t)out * sizeof(REAL));
    for (int64_t i = 0; i < n; i++)
        EACH_ENTRIES(first + i, {
            for (int k = 0; k < count; k++) {
                if (column[k] < i0 || column[k] >= i1) continue;
                REAL *restrict w = dW + (int64_t)(column[k] - i0) * out;
                const REAL *restrict d = (const REAL *)dz + i * nr;
                for (int j0 = 0; j0 < out; j0 += nr, w += nr, d += n * nr) {
                    int cols = out - j0 < nr ? out - j0 : nr;
                    for (int j = 0; j < cols; j++) w[j] += value[k] * d[j];
                }
            }
        })
}
#undef EACH_ENTRIES
