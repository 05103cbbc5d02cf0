/* The kernels for float, once per instruction set; dispatch.c chooses among the tables. */
#include "kernels.h"

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
#include "kernels_template.h"
#include "target_end.h"
#undef SUFFIX
#undef LEVEL
#undef VBYTES

#define SUFFIX avx512
#define LEVEL "avx512"
#define VBYTES 64
#include "target_avx512.h"
#include "kernels_template.h"
#include "target_end.h"
#endif
