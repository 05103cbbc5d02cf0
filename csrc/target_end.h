/* Ends the part begun by target_avx2.h or target_avx512.h. */
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
