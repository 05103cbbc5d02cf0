/* dispatch: the name tables, and the choice of the kernel table from CPU features. Decided at setup,
 * anew each time: nothing is remembered. FASTBP_DISABLE_CPU="avx512,avx2" leaves out levels. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define TEXT(name, exception, text) text,
#define EXCEPTION(name, exception, text) exception,
#define NAME(name) #name,
#define NAME2(name, states) #name,
#define STATES(name, states) states,
const char *const fbp_status_text[FBP_N_STATUS] = {FBP_STATUSES(TEXT)};
const char *const fbp_status_exception[FBP_N_STATUS] = {FBP_STATUSES(EXCEPTION)};
const char *const fbp_activation_name[FBP_N_ACT] = {FBP_ACTIVATIONS(NAME)};
const char *const fbp_loss_name[FBP_N_LOSS] = {FBP_LOSSES(NAME)};
const char *const fbp_optimizer_name[FBP_N_OPT] = {FBP_OPTIMIZERS(NAME2)};
const int fbp_optimizer_states[FBP_N_OPT] = {FBP_OPTIMIZERS(STATES)};

extern const fbp_kernels fbp_kernels_f32_baseline, fbp_kernels_f64_baseline;
#ifdef FBP_X86
extern const fbp_kernels fbp_kernels_f32_avx2, fbp_kernels_f64_avx2, fbp_kernels_f32_avx512,
    fbp_kernels_f64_avx512;
#endif

static int disabled(const char *level) {
    const char *list = getenv("FASTBP_DISABLE_CPU");
    size_t length = strlen(level);
    for (; list && *list; list += strcspn(list, ", ")) {
        list += strspn(list, ", ");
        if (strncmp(list, level, length) == 0 && strcspn(list, ", ") == length)
            return 1;
    }
    return 0;
}

/* The tables that may run here, best first. */
static int candidates(fbp_dtype dtype, const fbp_kernels *tables[4]) {
    int n = 0;
#ifdef FBP_X86
    if (fbp_cpu_has_avx512() && !disabled("avx512"))
        tables[n++] = dtype == FBP_F32 ? &fbp_kernels_f32_avx512 : &fbp_kernels_f64_avx512;
    if (fbp_cpu_has_avx2() && !disabled("avx2"))
        tables[n++] = dtype == FBP_F32 ? &fbp_kernels_f32_avx2 : &fbp_kernels_f64_avx2;
#endif
    tables[n++] = dtype == FBP_F32 ? &fbp_kernels_f32_baseline : &fbp_kernels_f64_baseline;
    return n;
}

const fbp_kernels *fbp_kernels_of(fbp_dtype dtype) {
    const fbp_kernels *tables[4];
    candidates(dtype, tables);
    return tables[0];
}

int fbp_cpu_levels(const char *names[4]) {
    const fbp_kernels *tables[4];
    int n = candidates(FBP_F32, tables);
    for (int i = 0; i < n; i++) names[i] = tables[i]->isa;
    return n;
}

const fbp_dense *fbp_dense_of(void) {
    const char *forced = getenv("FASTBP_DENSE");
    if (forced && strcmp(forced, "blas") == 0)
        return &fbp_dense_blas;
    if (forced && strcmp(forced, "packed") == 0)
        return &fbp_dense_packed;
    /* measured (bench/products.py): packed wins at every level of x86; elsewhere its tiles are untuned */
#ifdef FBP_X86
    return &fbp_dense_packed;
#else
    return &fbp_dense_blas;
#endif
}
