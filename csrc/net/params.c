/* The table of parameters: C's offsets, Python's views and the initial draws all come from it. */
#include <limits.h>
#include <stdio.h>

#include "fastbp.h"

fbp_status fbp_params_init(fbp_param *params, int n_layers, const int *widths, int input_scale) {
    int64_t offset = 0;
    for (int i = 0; i < 2 * n_layers; i++) { /* every W, then every b */
        int is_W = i < n_layers, l = i % n_layers;
        fbp_param *p = &params[i];
        *p = (fbp_param){
            .offset = offset, .rows = is_W ? widths[l] : 1, .cols = widths[l + 1], .rate = 1, .decay = is_W};
        snprintf(p->name, sizeof p->name, "%c[%d]", is_W ? 'W' : 'b', l);
        offset += (int64_t)p->rows * p->cols; /* two ints: fits */
        if (offset > INT64_MAX / 64) return FBP_EOVERFLOW;
    }
    if (input_scale)
        params[2 * n_layers] = (fbp_param){.name = "s[0]", .offset = offset, .rows = widths[0], .cols = 1, .rate = 1};
    return FBP_OK;
}
