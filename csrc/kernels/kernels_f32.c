#define FBP_IS_F32 1
#define REAL float
#define DTYPE f32
#define FBP_SQRT sqrtf
#define VECTOR __m512
#define MM(name) _mm512_##name##_ps
#define MM256(name) _mm256_##name##_ps
#include "kernels/levels.h"
