#define REAL double
#define DTYPE f64
#define FBP_SQRT sqrt
#define VECTOR __m512d
#define MM(name) _mm512_##name##_pd
#define MM256(name) _mm256_##name##_pd
#include "kernels/levels.h"
