/* The kernels for double, once per instruction set; dispatch.c chooses among the tables. */
#include "kernels.h"

#ifdef FBP_X86
#include <immintrin.h>
#endif

#define REAL double
#define FBP_SQRT sqrt
#define FN(name) FBP_JOIN3(name, f64, SUFFIX)

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
#include "kernels_template.h"
#include "target_end.h"
#undef SUFFIX
#undef LEVEL
#undef VBYTES

#define SUFFIX avx512
#define LEVEL "avx512"
#define VBYTES 64
#include "target_avx512.h"
#define VEC_LOAD_PART(from, cols) (FN(vec)) _mm512_maskz_loadu_pd(FBP_MASK(cols), from)
#define VEC_LOAD_OR(other, from, cols) (FN(vec)) _mm512_mask_loadu_pd(_mm512_set1_pd(other), FBP_MASK(cols), from)
#define VEC_MAX_OF(v) _mm512_reduce_max_pd((__m512d)(v))
#define VEC_SUM_OF(v) _mm512_reduce_add_pd((__m512d)(v))
#define VEC_STORE_PART(to, v, cols) _mm512_mask_storeu_pd(to, FBP_MASK(cols), (__m512d)(v))
#define VEC_RSQRT(x) (FN(vec)) _mm512_rsqrt14_pd((__m512d)(x))
#define VEC_RCP(x) (FN(vec)) _mm512_rcp14_pd((__m512d)(x))
#define VEC_CLAMP(x, low, high) \
    (FN(vec)) _mm512_min_pd(_mm512_max_pd((__m512d)(x), _mm512_set1_pd(low)), _mm512_set1_pd(high))
#include "kernels_template.h"
#include "target_end.h"
#endif
