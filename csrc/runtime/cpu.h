/* The processor: which instructions may be used, and the floating-point state. Denormals are zero while we compute, and
 * the caller's state is put back. */
#pragma once

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
static inline uint64_t fbp_flush_denormals(void) {
    unsigned state = _mm_getcsr();
    _mm_setcsr(state | 0x8040); /* flush to zero, denormals are zero */
    return state;
}
static inline void fbp_restore_state(uint64_t state) { _mm_setcsr((unsigned)state); }
#elif defined(__aarch64__)
static inline uint64_t fbp_flush_denormals(void) {
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    __asm__ volatile("msr fpcr, %0" ::"r"(state | (1u << 24)));
    return state;
}
static inline void fbp_restore_state(uint64_t state) { __asm__ volatile("msr fpcr, %0" ::"r"(state)); }
#else
static inline uint64_t fbp_flush_denormals(void) { return 0; }
static inline void fbp_restore_state(uint64_t state) { (void)state; }
#endif

int fbp_cpu_has_avx2(void);   /* and FMA */
int fbp_cpu_has_avx512(void); /* F, BW, DQ, VL, and AVX2 and FMA */
