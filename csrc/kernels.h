/* What a kernels file needs before it includes kernels_template.h once per instruction set. */
#ifndef FASTBP_KERNELS_H
#define FASTBP_KERNELS_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "fastbp.h"

#if defined(__clang__)
#define FBP_UNROLL _Pragma("clang loop unroll(full)")
#define FBP_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define FBP_UNROLL _Pragma("GCC unroll 16")
#define FBP_IVDEP _Pragma("GCC ivdep") _Pragma("GCC unroll 1") /* unrolled whole, 16 passes would stay scalar */
#endif

#define FBP_GATHER_AHEAD 2  /* rows that the gather prefetches ahead */
#define FBP_PACK_ROWS 16    /* rows of a matrix that are packed together */
#define FBP_CSR_CHUNK 256   /* entries of a sparse row that are handled at a time */
#define FBP_LOSS_BLOCK 64   /* rows (or columns) whose intermediate values live on the stack */

#if defined(__x86_64__)
#define FBP_STAYS(x) __asm__("" : "+v"(x)) /* the value is in its register here */
#elif defined(__aarch64__)
#define FBP_STAYS(x) __asm__("" : "+w"(x))
#else
#define FBP_STAYS(x) (void)(x)
#endif

#define FBP_MASK(count) ((1u << (count)) - 1) /* AVX-512 mask of the first `count` numbers of a vector */

/* Levels beyond the baseline that this compiler and processor family can build. */
#if defined(__x86_64__)
#define FBP_X86 1
#endif
int fbp_cpu_has_avx2(void);   /* and FMA */
int fbp_cpu_has_avx512(void); /* F, BW, DQ, VL, and AVX2 and FMA */

#define FBP_JOIN3_(a, b, c) a##_##b##_##c
#define FBP_JOIN3(a, b, c) FBP_JOIN3_(a, b, c)

#endif
