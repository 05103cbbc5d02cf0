/* Functions from here to target_end.h are compiled for AVX2 and FMA, and for prefetchw, without which prefetches for
 * writing are for reading. It is a hint that dispatch.c need not look for: 64-bit Windows has required it since 8.1,
 * and of Intel's processors those before Nehalem alone may lack it. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,prfchw"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,prfchw")
#endif
