/* Functions from here to target_end.h are compiled for AVX-512 (F, BW, DQ, VL) with 64-byte vectors;
 * prefetchw as in target_avx2.h. Clang has no such word for the width that loops are to have, and needs none:
 * its code is the same with -mprefer-vector-width=512. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prfchw"))),  \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prfchw,prefer-vector-width=512")
#endif
