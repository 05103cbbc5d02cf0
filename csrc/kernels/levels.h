/* The kernels of one dtype, once per instruction set; included by kernels_f32.c and kernels_f64.c with REAL, DTYPE and
 * MM(name), the intrinsic of that name for their dtype. dispatch.c chooses among the tables. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "data/source.h"
#include "kernels/kernels.h"
#include "tuning.h"

/* Functions between TARGET and TARGET_END are compiled for these instructions. prefetchw (prfchw), without which
 * prefetches for writing are for reading, is a hint that dispatch.c need not look for: 64-bit Windows has required it
 * since 8.1, and of Intel's processors those before Nehalem alone may lack it. Clang needs no word for the width that
 * loops are to have: its code is the same with -mprefer-vector-width=512. */
#define FBP_PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prfchw"
#define TARGET(isa) FBP_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define TARGET_END FBP_PRAGMA(clang attribute pop)
#define FBP_UNROLL _Pragma("clang loop unroll(full)")
#define FBP_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prfchw,prefer-vector-width=512"
#define TARGET(isa) FBP_PRAGMA(GCC push_options) FBP_PRAGMA(GCC target(isa))
#define TARGET_END FBP_PRAGMA(GCC pop_options)
#define FBP_UNROLL _Pragma("GCC unroll 16")
#define FBP_IVDEP _Pragma("GCC ivdep") _Pragma("GCC unroll 1") /* unrolled whole, 16 passes would stay scalar */
#endif

#if defined(__x86_64__)
#define FBP_STAYS(x) __asm__("" : "+v"(x)) /* the value is in its register here */
#elif defined(__aarch64__)
#define FBP_STAYS(x) __asm__("" : "+w"(x))
#else
#define FBP_STAYS(x) (void)(x)
#endif

#define FBP_NOINLINE __attribute__((noinline)) /* called by others as well as by way of a table */
#define FBP_MASK(count) ((1u << (count)) - 1) /* AVX-512 mask of the first `count` numbers of a vector */
#define FBP_JOIN3_(a, b, c) a##_##b##_##c
#define FBP_JOIN3(a, b, c) FBP_JOIN3_(a, b, c)
#define FBP_TEXT_(x) #x
#define FBP_TEXT(x) FBP_TEXT_(x)

/* Short names for the templates; what depends on DTYPE, LEVEL and VBYTES is expanded where it is used. */
#define FN(name) FBP_JOIN3(name, DTYPE, LEVEL)
#define FBP_SIZE(name) FBP_JOIN3(FBP_##name, DTYPE, LEVEL) /* of the table in tuning.h */
#define LANES ((int)(VBYTES / sizeof(REAL)))
#define MR FBP_SIZE(MR)
#define NR (2 * LANES)
#define AW FBP_SIZE(AW)
#define AT(p, i) (*(FN(loose) *)((p) + (i))) /* a vector at any address */
#define EACH(r, m) FBP_UNROLL for (int r = 0; r < (m); r++)
/* The same with `row` moving along: without the barrier all addresses are computed beforehand and spilled. */
#define EACH_ROW(r, m, row, ld) \
    FBP_UNROLL for (int r = 0; r < (m); r++, row += (ld), ({ __asm__("" : "+r"(row)); }))
#define ACT(name) FN(act_##name),
#define DERIVE(name) FN(derive_##name),
#define LOSS(name, output, outputs) FN(loss_##name),
#define OUTPUT(name, output, outputs) FN(output_##output),
#define OUTPUT_GRAD(name, output, outputs) FN(output_grad_##output),
#define OPTIM_UPDATE(name, states, ...) FN(update_##name),
#define LOAD_ROWS(name) FN(load_rows_##name),
#define LOAD_COLUMNS(name) FN(load_columns_##name),
#define DIRECT_FORWARD(TYPE) FN(direct_##TYPE),
#define SPARSE_FORWARD(TYPE) FN(sparse_forward_##TYPE),
#define GEMV_FORWARD(name) FN(gemv_forward_##name),
#define GEMV_INPUT_GRAD(name) FN(gemv_input_grad_##name),
#define GEMV_WEIGHT_GRAD(name) FN(gemv_weight_grad_##name),

#define FBP_PARTS 0 /* 1: part of a vector is loaded and stored as fast as all of it */
#define LEVEL baseline
#define VBYTES 16
#include "kernels/template.h"
#undef LEVEL
#undef VBYTES

#if defined(__x86_64__)
#include <immintrin.h>

#define LEVEL avx2
#define VBYTES 32
TARGET("avx2,fma,prfchw")
/* Masked stores are slow on AMD before Zen 4. */
static const int32_t fbp_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
#define VEC_LOAD_PART(from, cols) \
    (FN(vec)) MM256(maskload)(from, _mm256_loadu_si256((const void *)(fbp_mask + 8 - (cols) * (int)sizeof(REAL) / 4)))
#define VEC_FMA(x, y, z) (FN(vec)) MM256(fmadd)(x, y, z)
#define VEC_MAX(x, y) (FN(vec)) MM256(max)(x, y) /* the second where one is NaN */
#define VEC_MIN(x, y) (FN(vec)) MM256(min)(x, y)
#ifdef FBP_IS_F32 /* of double there is none */
#define VEC_RSQRT(x) (FN(vec)) _mm256_rsqrt_ps((__m256)(x))
#define VEC_RCP(x) (FN(vec)) _mm256_rcp_ps((__m256)(x))
#define VEC_CLAMP(x, low, high) \
    (FN(vec)) _mm256_min_ps(_mm256_max_ps((__m256)(x), _mm256_set1_ps(low)), _mm256_set1_ps(high))
#endif
#include "kernels/template.h"
TARGET_END
#undef LEVEL
#undef VBYTES
#undef VEC_LOAD_PART
#undef VEC_FMA
#undef VEC_MAX
#undef VEC_MIN
#undef VEC_RSQRT
#undef VEC_RCP
#undef VEC_CLAMP

#define LEVEL avx512
#define VBYTES 64
TARGET(AVX512)
#undef FBP_PARTS
#define FBP_PARTS 1
#define VEC_LOAD_PART(from, cols) (FN(vec)) MM(maskz_loadu)(FBP_MASK(cols), from)
#define VEC_SUM_OF(v) MM(reduce_add)((VECTOR)(v))
#define VEC_STORE_PART(to, v, cols) MM(mask_storeu)(to, FBP_MASK(cols), (VECTOR)(v))
#define VEC_FMA(x, y, z) (FN(vec)) MM(fmadd)((VECTOR)(x), (VECTOR)(y), (VECTOR)(z))
#define VEC_MAX(x, y) (FN(vec)) MM(max)((VECTOR)(x), (VECTOR)(y))
#define VEC_MIN(x, y) (FN(vec)) MM(min)((VECTOR)(x), (VECTOR)(y))
#define VEC_RSQRT(x) (FN(vec)) MM(rsqrt14)((VECTOR)(x))
#define VEC_RCP(x) (FN(vec)) MM(rcp14)((VECTOR)(x))
#define VEC_CLAMP(x, low, high) (FN(vec)) MM(min)(MM(max)((VECTOR)(x), MM(set1)(low)), MM(set1)(high))
#include "kernels/template.h"
TARGET_END
#endif
