/* Masks of dropout. Included by template.h. */

#ifndef FBP_ROW_KEY
#define FBP_ROW_KEY
static inline uint64_t fbp_row_key(const fbp_drop *drop, int64_t row) {
    return fbp_mix(drop->key + (uint64_t)(drop->row + row) * 0x9e3779b97f4a7c15u);
}
/* 32 random bits of a column of a row: two rounds of xor-shift and multiply, with half of the row's key in each */
static inline uint32_t fbp_random_bits(uint64_t row_key, uint32_t column) {
    uint32_t x = column * 0x9e3779b1u + (uint32_t)row_key;
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15) ^ (uint32_t)(row_key >> 32)) * 0xd35a2d97u;
    return x ^ (x >> 15);
}
#endif

static void FN(mark)(void *z_, int64_t n, int cols, const fbp_drop *drop) {
    const uint32_t below = drop->below;
    for (int64_t r = 0; r < n; r++) {
        FN(bits) *restrict z = (FN(bits) *)z_ + r * cols;
        const uint64_t key = fbp_row_key(drop, r);
    FBP_IVDEP for (int j = 0; j < cols; j++)
            z[j] = (z[j] & ~(FN(bits))1) | (FN(bits))(fbp_random_bits(key, (uint32_t)j) < below);
    }
}

static void FN(drop)(void *x_, int64_t ldx, const void *z_, int64_t ldz, int64_t n, int cols, double scale_) {
    const REAL scale = (REAL)scale_;
    for (int64_t r = 0; r < n; r++) {
        REAL *x = (REAL *)x_ + r * ldx;
        const REAL *z = (const REAL *)z_ + r * ldz;
        FBP_IVDEP for (int j = 0; j < cols; j++)
            x[j] = FN(from_bits)(FN(to_bits)(x[j] * scale) & ((FN(to_bits)(z[j]) & 1) - 1));
    }
}

/* The same of the entries of one row. */
static inline void FN(drop_entries)(REAL *value, const int *column, int count, const fbp_drop *drop, int64_t row) {
    const uint64_t key = fbp_row_key(drop, row);
    const REAL scale = (REAL)drop->scale;
    for (int k = 0; k < count; k++)
        value[k] = fbp_random_bits(key, (uint32_t)column[k]) < drop->below ? 0 : value[k] * scale;
}
