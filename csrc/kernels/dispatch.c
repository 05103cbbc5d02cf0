/* dispatch: the name tables, and the choice of the kernels, made anew at each setup: nothing is remembered. */
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "runtime/cpu.h"

#define TEXT(name, exception, text) text,
#define EXCEPTION(name, exception, text) exception,
#define NAME(name, ...) #name,
#define OUTPUTS(name, output, outputs) outputs,
#define STATES(name, states, ...) states,
#define STATE_NAMES(name, states, ...) {__VA_ARGS__},
const char *const fbp_status_text[FBP_N_STATUS] = {FBP_STATUSES(TEXT)};
const char *const fbp_status_exception[FBP_N_STATUS] = {FBP_STATUSES(EXCEPTION)};
const char *const fbp_activation_name[FBP_N_ACT] = {FBP_ACTIVATIONS(NAME)};
const char *const fbp_loss_name[FBP_N_LOSS] = {FBP_LOSSES(NAME)};
const int fbp_loss_outputs[FBP_N_LOSS] = {FBP_LOSSES(OUTPUTS)};
const char *const fbp_optimizer_name[FBP_N_OPT] = {FBP_OPTIMIZERS(NAME)};
const int fbp_optimizer_states[FBP_N_OPT] = {FBP_OPTIMIZERS(STATES)};
const char *const fbp_optimizer_state_name[FBP_N_OPT][2] = {FBP_OPTIMIZERS(STATE_NAMES)};

/*        level    does this processor have it */
#if defined(__x86_64__)
#define LEVELS(X) X(avx512, fbp_cpu_has_avx512()) X(avx2, fbp_cpu_has_avx2()) X(baseline, 1)
#else
#define LEVELS(X) X(baseline, 1)
#endif
#define COUNT(level, has) +1
_Static_assert(0 LEVELS(COUNT) <= 4, "fbp_cpu_levels has room for four names");
#define DECLARE(level, has) extern const fbp_kernels fbp_kernels_f32_##level, fbp_kernels_f64_##level;
LEVELS(DECLARE)

static int disabled(const char *level) {
    const char *list = getenv("FASTBP_DISABLE_CPU");
    size_t length = strlen(level);
    for (; list && *list; list += strcspn(list, ", ")) {
        list += strspn(list, ", ");
        if (strncmp(list, level, length) == 0 && strcspn(list, ", ") == length) return 1;
    }
    return 0;
}

/* The tables that may run here, best first; the baseline cannot be disabled. */
static int candidates(fbp_dtype dtype, const fbp_kernels *tables[4]) {
    int n = 0;
#define CANDIDATE(level, has)                                                  \
    if ((has) && (strcmp(#level, "baseline") == 0 || !disabled(#level)))       \
        tables[n++] = dtype == FBP_F32 ? &fbp_kernels_f32_##level : &fbp_kernels_f64_##level;
    LEVELS(CANDIDATE)
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
