/* All kernels of one dtype and instruction set. Included by levels.h with
 *   REAL   float or double     DTYPE  f32 or f64     LEVEL  baseline, avx2 or avx512     VBYTES  bytes of a vector
 * Plain loops over contiguous memory that compilers vectorise; no call into libm inside them.
 * Rows are cut by shape alone, so remainders fall at the same places for any number of threads. */
#include "kernels/math_template.h"
#include "kernels/elementwise_template.h"
#include "kernels/dropout_template.h"
#include "kernels/loss_template.h"
#include "kernels/optim_template.h"
#include "gemm/ukernel_template.h"
#include "gemm/load_template.h"
#include "gemm/pack_template.h"
#include "gemm/gemv_template.h"
#include "gemm/edge_template.h"
#include "net/direct_template.h"
#include "net/sparse_template.h"
#include "net/encoded_template.h"

const fbp_kernels FN(fbp_kernels) = {
    .isa = FBP_TEXT(LEVEL),
    .dtype = sizeof(REAL) == 4 ? FBP_F32 : FBP_F64,
    .elementwise = {.all_finite = {FN(all_finite_f32), ALL_FINITE_F64},
                    .gather = FN(gather),
                    .act = {FBP_ACTIVATIONS(ACT)},
                    .derive = {FBP_ACTIVATIONS(DERIVE)},
                    .column_sums = FN(column_sums),
                    .square_sum = FN(square_sum),
                    .square_sum_in_double = FN(square_sum_in_double),
                    .scale = FN(scale),
                    .mark = FN(mark),
                    .drop = FN(drop)},
    .losses = {.loss = {FBP_LOSSES(LOSS)},
               .weigh = FN(weigh),
               .output = {FBP_LOSSES(OUTPUT)},
               .output_grad = {FBP_LOSSES(OUTPUT_GRAD)}},
    .optim = {.update = {FBP_OPTIMIZERS(OPTIM_UPDATE)}, .average = FN(average)},
    .gemm =
        {
            .mr = MR,
            .nr = NR,
            .aw = AW,
            .b_block = FBP_SIZE(B),
            .along_rows = FN(along_rows),
            .along_columns = FN(along_columns),
            .load_rows = {FBP_ACTIVATIONS(LOAD_ROWS)},
            .load_columns = {FBP_ACTIVATIONS(LOAD_COLUMNS)},
            .load_panels = FN(load_panels),
            .load_columns_at = FN(load_columns_at),
            .pack = FN(pack),
            .pack_transposed = FN(pack_transposed),
#ifdef MOST_EDGE
            .most_edge = MOST_EDGE,
            .pack_edge = FN(pack_edge),
            .edge_rows = FN(edge_rows),
            .edge_columns = FN(edge_columns),
#endif
        },
    .gemv = {.forward = {FBP_ACTIVATIONS(GEMV_FORWARD)},
             .input_grad = {FBP_ACTIVATIONS(GEMV_INPUT_GRAD)},
             .weight_grad = {FBP_ACTIVATIONS(GEMV_WEIGHT_GRAD)}},
    .direct = {.forward = {EACH_WEIGHT_TYPE(DIRECT_FORWARD)}},
    .sparse = {.forward = {EACH_WEIGHT_TYPE(SPARSE_FORWARD)}, .weight_grad = FN(sparse_weight_grad)},
    .encoded = {.tabulate = FN(encoded_tabulate),
                .forward = FN(encoded_forward),
                .weight_grad = FN(encoded_weight_grad),
                .finish = FN(encoded_finish)},
};
#undef EACH_WEIGHT_TYPE
#undef ALL_FINITE_F64
