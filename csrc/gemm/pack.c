/* B operands: where their micro-panels lie, and how a matrix gets into them. */
#include "gemm/gemm.h"

void fbp_pack(const fbp_gemm_kernels *kern, const fbp_operand *b, const void *W, int64_t ld, int64_t i0, int64_t i1) {
    int64_t kc = b->kc;
    for (int64_t k0 = i0 / kc * kc; k0 < i1; k0 += kc)
        kern->pack(fbp_b_panel(b, 0, k0), fbp_at(W, k0 * ld, b->dtype), ld, fbp_min(kc, b->rows - k0), b->cols,
                   fbp_max(i0 - k0, 0), fbp_min(i1 - k0, kc));
}

void fbp_pack_transposed(const fbp_gemm_kernels *kern, const fbp_operand *b, const void *W, int64_t ld, int i0,
                         int i1) {
    int64_t kc = b->kc;
    for (int64_t k0 = 0; k0 < b->rows; k0 += kc)
        kern->pack_transposed(fbp_b_panel(b, 0, k0), fbp_at(W, k0, b->dtype), ld, (int)fbp_min(kc, b->rows - k0), i0,
                              i1);
}

int64_t fbp_edge_group(const fbp_gemm_kernels *kern, int64_t rows) { return fbp_whole(rows, kern->nr) * 4; }

size_t fbp_edge_bytes(const fbp_gemm_kernels *kern, fbp_dtype dtype, int64_t rows, int count, int *overflow) {
    return fbp_size(fbp_ceil_div(count, 4), fbp_edge_group(kern, rows), fbp_item(dtype), overflow);
}
