/* Every elementwise kernel, loss and update, once. Included per dtype and instruction set with
 *   REAL   float or double        FN(name)  the name with dtype and level appended
 *   VBYTES bytes of a vector      LEVEL     the level's name
 * Plain loops over contiguous memory that compilers vectorise; no call into libm inside them.
 * Rows are cut by shape alone, so remainders fall at the same places for any number of threads. */
#include "math_template.h"

/* ---- activations: a row of the table is f(z) and d * f'(z), both from z ------------------------ */

static inline REAL FN(identity_f)(REAL z) { return z; }
static inline REAL FN(identity_d)(REAL d, REAL z) { return (void)z, d; }
static inline REAL FN(logistic_f)(REAL z) { return FN(logistic)(z); }
static inline REAL FN(logistic_d)(REAL d, REAL z) {
    REAL a = FN(logistic)(z);
    return d * (a * (1 - a));
}
static inline REAL FN(tanh_f)(REAL z) { return FN(tanh)(z); }
static inline REAL FN(tanh_d)(REAL d, REAL z) {
    REAL a = FN(tanh)(z);
    return d * (1 - a * a);
}
static inline REAL FN(relu_f)(REAL z) { return z < 0 ? 0 : z; } /* NaN stays */
static inline REAL FN(relu_d)(REAL d, REAL z) { return z <= 0 ? 0 : d; }

#define ACTIVATION(name)                                                                               \
    static void FN(act_##name)(void *a_, const void *z_, int64_t ldz, int64_t n, int cols) {           \
        for (int64_t r = 0; r < n; r++) {                                                              \
            REAL *restrict a = (REAL *)a_ + r * cols;                                                  \
            const REAL *restrict z = (const REAL *)z_ + r * ldz;                                       \
            FBP_IVDEP for (int j = 0; j < cols; j++) a[j] = FN(name##_f)(z[j]);                        \
        }                                                                                              \
    }                                                                                                  \
    static void FN(derive_##name)(void *dz_, int64_t ld, const void *z_, int64_t ldz, int64_t n,       \
                                  int cols) {                                                          \
        for (int64_t r = 0; r < n; r++) {                                                              \
            REAL *restrict dz = (REAL *)dz_ + r * ld;                                                  \
            const REAL *restrict z = (const REAL *)z_ + r * ldz;                                       \
            if (cols == 2 * LANES)                                                                     \
                FBP_IVDEP for (int j = 0; j < 2 * LANES; j++) dz[j] = FN(name##_d)(dz[j], z[j]);       \
            else                                                                                       \
                FBP_IVDEP for (int j = 0; j < cols; j++) dz[j] = FN(name##_d)(dz[j], z[j]);                      \
        }                                                                                              \
    }
FBP_ACTIVATIONS(ACTIVATION)
#undef ACTIVATION

static void FN(add_bias)(void *z_, const void *b_, int64_t n, int out) {
    const REAL *restrict b = b_;
    for (int64_t r = 0; r < n; r++) {
        REAL *restrict z = (REAL *)z_ + r * out;
        for (int j = 0; j < out; j++) z[j] += b[j];
    }
}

#include "gather_template.h"
#include "loss_template.h"
#include "update_template.h"
#include "packed_template.h"
#include "single_template.h"
#include "tail_template.h"
#include "sparse_template.h"

#define ENTRY_FILL_ROWS(name) FN(fill_rows_##name),
#define ENTRY_FILL_STRIP(name) FN(fill_strip_##name),
#define ENTRY_SINGLE_FORWARD(name) FN(single_forward_##name),
#define ENTRY_SINGLE_INPUT_GRAD(name) FN(single_input_grad_##name),
#define ENTRY_SINGLE_GRAD(name) FN(single_grad_##name),
#define ENTRY_ACT(name) FN(act_##name),
#define ENTRY_DERIVE(name) FN(derive_##name),
#define ENTRY_LOSS(name) FN(loss_##name),
#define ENTRY_OUTPUT(name) FN(output_##name),
#define ENTRY_UPDATE(name, states) FN(update_##name),
const fbp_kernels FN(fbp_kernels) = {
    .isa = LEVEL,
    .all_finite = FN(all_finite),
    .gather = FN(gather),
    .gather_targets = FN(gather_targets),
    .add_bias = FN(add_bias),
    .act = {FBP_ACTIVATIONS(ENTRY_ACT)},
    .derive = {FBP_ACTIVATIONS(ENTRY_DERIVE)},
    .loss = {FBP_LOSSES(ENTRY_LOSS)},
    .output = {FBP_LOSSES(ENTRY_OUTPUT)},
    .column_sums = FN(column_sums),
    .square_sum = FN(square_sum),
    .update = {FBP_OPTIMIZERS(ENTRY_UPDATE)},
    .mr = MR,
    .nr = NR,
    .aw = AW,
    .tile_rows = FN(tile_rows),
    .tile_strip = FN(tile_strip),
    .fill_rows = {FBP_ACTIVATIONS(ENTRY_FILL_ROWS)},
    .fill_strip = {FBP_ACTIVATIONS(ENTRY_FILL_STRIP)},
    .copy_rows = FN(copy_rows),
    .gather_rows = FN(gather_rows),
    .gather_strips = FN(gather_strips),
    .single_forward = {FBP_ACTIVATIONS(ENTRY_SINGLE_FORWARD)},
    .single_input_grad = {FBP_ACTIVATIONS(ENTRY_SINGLE_INPUT_GRAD)},
    .single_grad = {FBP_ACTIVATIONS(ENTRY_SINGLE_GRAD)},
    .pack_panels = FN(pack_panels),
    .pack_transposed = FN(pack_transposed),
    .panel_sums = FN(panel_sums),
#ifdef MOST_TAIL
    .most_tail = MOST_TAIL,
    .pack_tail = FN(pack_tail),
    .tail_forward = FN(tail_forward),
    .tail_grad = FN(tail_grad),
#endif
    .csr_forward = FN(csr_forward),
    .csr_weight_grad = FN(csr_weight_grad),
};
#undef ENTRY_FILL_ROWS
#undef ENTRY_FILL_STRIP
#undef ENTRY_SINGLE_FORWARD
#undef ENTRY_SINGLE_INPUT_GRAD
#undef ENTRY_SINGLE_GRAD
#undef EACH
#undef MULTIPLY_ADD
#undef LOOK_AHEAD
#undef EACH_ROW
#undef FBP_SHUFFLE
#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
#undef FOR_ROWS
#undef FOR_ROWS_6
#undef MOST_TAIL
#undef AT
#undef FBP_PARTS
#undef MR
#undef NR
#undef ROW
#undef AW
#undef ENTRY_ACT
#undef ENTRY_DERIVE
#undef ENTRY_LOSS
#undef ENTRY_OUTPUT
#undef ENTRY_UPDATE
