/* cpu: which instructions may be used here, asked of the processor itself when the library is loaded: in a virtual machine
 * a question takes some ten microseconds, more than a small prediction. Not __builtin_cpu_supports: under
 * the runtime of `zig cc` it knows nothing, and the baseline would be chosen in silence. */
#include "runtime/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum { AVX_STATE = 0x6, AVX512_STATE = 0xe6 }; /* XCR0: xmm and ymm; and mask registers and both kinds of zmm */

/* Does the operating system save these registers when it switches threads? */
static int saved(unsigned state) {
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0)); /* its intrinsic would ask for -mxsave */
    return (low & state) == state;
}

static int has_avx2(void) {
    const unsigned first = bit_AVX | bit_FMA, seventh = bit_AVX2;
    unsigned a, b, c, d;
    if (!saved(AVX_STATE) || !__get_cpuid(1, &a, &b, &c, &d) || (c & first) != first) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & seventh) == seventh;
}

static int has_avx512(void) {
    const unsigned seventh = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    unsigned a, b, c, d;
    if (!has_avx2() || !saved(AVX512_STATE)) /* the kernels for AVX-512 use AVX2 and FMA too */
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & seventh) == seventh;
}

static struct {
    int avx2, avx512;
} found;

__attribute__((constructor)) static void look(void) {
    found.avx2 = has_avx2();
    found.avx512 = has_avx512();
}

int fbp_cpu_has_avx2(void) { return found.avx2; }
int fbp_cpu_has_avx512(void) { return found.avx512; }
#endif
