/* The kernels for float, once per instruction set; dispatch.c chooses among the tables. */
#include "kernels.h"

#ifdef FBP_X86
#include <immintrin.h>
#endif

#define FBP_IS_F32 1
#define REAL float
#define FBP_SQRT sqrtf
#define FN(name) FBP_JOIN3(name, f32, SUFFIX)

#define SUFFIX baseline
#define LEVEL "baseline"
#define VBYTES 16
#include "kernels_template.h"
#undef SUFFIX
#undef LEVEL
#undef VBYTES

#ifdef FBP_X86
#define SUFFIX avx2
#define LEVEL "avx2"
#define VBYTES 32
#include "target_avx2.h"
#define VEC_RSQRT(x) (FN(vec)) _mm256_rsqrt_ps((__m256)(x))
#define VEC_RCP(x) (FN(vec)) _mm256_rcp_ps((__m256)(x))
#define VEC_CLAMP(x, low, high) \
    (FN(vec)) _mm256_min_ps(_mm256_max_ps((__m256)(x), _mm256_set1_ps(low)), _mm256_set1_ps(high))
#include "kernels_template.h"
#include "target_end.h"
#undef SUFFIX
#undef LEVEL
#undef VBYTES

#define SUFFIX avx512
#define LEVEL "avx512"
#define VBYTES 64
#include "target_avx512.h"
#undef VEC_RSQRT
#undef VEC_RCP
#undef VEC_CLAMP
#define VEC_LOAD_PART(from, cols) (FN(vec)) _mm512_maskz_loadu_ps(FBP_MASK(cols), from)
#define VEC_LOAD_OR(other, from, cols) (FN(vec)) _mm512_mask_loadu_ps(_mm512_set1_ps(other), FBP_MASK(cols), from)
#define VEC_MAX_OF(v) _mm512_reduce_max_ps((__m512)(v))
#define VEC_SUM_OF(v) _mm512_reduce_add_ps((__m512)(v))
#define VEC_STORE_PART(to, v, cols) _mm512_mask_storeu_ps(to, FBP_MASK(cols), (__m512)(v))
#define VEC_RSQRT(x) (FN(vec)) _mm512_rsqrt14_ps((__m512)(x))
#define VEC_RCP(x) (FN(vec)) _mm512_rcp14_ps((__m512)(x))
#define VEC_CLAMP(x, low, high) \
    (FN(vec)) _mm512_min_ps(_mm512_max_ps((__m512)(x), _mm512_set1_ps(low)), _mm512_set1_ps(high))
#include "kernels_template.h"
#include "target_end.h"
#endif
