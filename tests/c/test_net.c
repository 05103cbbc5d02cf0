/* What a net is made of: the table of its parameters, the plan of its memory, and the gradient of a whole pass against
 * differences of its loss. */
#include "check.h"
#include "train/train.h"

/* ---- the table of parameters ------------------------------------------------------------ */

enum { MOST_LAYERS = 40 };

/* Every W, layer by layer, then every b; one begins where the one before ends. */
static void parameters_lie_one_after_the_other(void) {
    for (int round = 0; round < 300; round++) {
        fbp_param params[2 * MOST_LAYERS];
        int n_layers = 1 + (int)random_below(MOST_LAYERS), widths[MOST_LAYERS + 1];
        for (int l = 0; l <= n_layers; l++) widths[l] = 1 + (int)random_below(2000);
        memset(params, 0x55, sizeof params);
        CHECK(fbp_params_init(params, n_layers, widths, 0) == FBP_OK, "%d layers", n_layers);
        int64_t end = 0;
        for (int i = 0; i < 2 * n_layers; i++) {
            int is_W = i < n_layers, l = i % n_layers;
            const fbp_param *p = &params[i];
            char name[16];
            snprintf(name, sizeof name, "%s[%d]", is_W ? "W" : "b", l);
            CHECK(strcmp(p->name, name) == 0, "%.16s, not %s", p->name, name);
            CHECK(p->offset == end, "%s begins at %ld, not %ld", name, (long)p->offset, (long)end);
            CHECK(p->rows == (is_W ? widths[l] : 1) && p->cols == widths[l + 1], "%s is %d x %d", name, p->rows,
                  p->cols);
            CHECK(p->rate == 1 && p->decay == is_W, "%s: rate %g, decay %g", name, p->rate, p->decay);
            end += (int64_t)p->rows * p->cols;
        }
        if (n_layers < MOST_LAYERS)
            CHECK(params[2 * n_layers].name[0] == 0x55, "%d layers have a row too many", n_layers);
    }
}

static void parameters_that_cannot_be_counted_are_a_status(void) {
    fbp_param params[2 * MOST_LAYERS];
    int widths[MOST_LAYERS + 1];
    for (int l = 0; l <= MOST_LAYERS; l++) widths[l] = INT32_MAX;
    for (int n_layers = 1; n_layers <= MOST_LAYERS; n_layers++)
        CHECK(fbp_params_init(params, n_layers, widths, 0) == FBP_EOVERFLOW, "%d huge layers", n_layers);
    for (int l = 0; l <= MOST_LAYERS; l++) widths[l] = 1 << 27; /* each fits, all together do not */
    CHECK(fbp_params_init(params, 3, widths, 0) == FBP_OK, "three layers of 2^54");
    CHECK(fbp_params_init(params, MOST_LAYERS, widths, 0) == FBP_EOVERFLOW, "forty layers of 2^54");

    fbp_layer layers[MOST_LAYERS];
    fbp_net net;
    int acts[MOST_LAYERS] = {0};
    fbp_config config = {.n_layers = MOST_LAYERS, .widths = widths, .acts = acts, .batch = 10, .n_threads = 1};
    CHECK(fbp_net_init(&net, layers, params, &config) == FBP_EOVERFLOW, "a net");
    fbp_trainer *tr;
    CHECK(fbp_trainer_new(&tr, &config, 1) == FBP_EOVERFLOW && tr, "a trainer");
    fbp_trainer_free(tr);
}

/* ---- the plan ------------------------------------------------------------ */

static void rows_add_up(const fbp_plan_row *rows, int n_rows, size_t bytes, const char *what) {
    size_t end = 0;
    for (int i = 0; i < n_rows; i++) {
        const fbp_plan_row *row = &rows[i];
        CHECK(row->offset == end && row->bytes % FBP_ALIGN == 0, "%s: %s at %zu, not %zu", what, row->name, row->offset,
              end);
        CHECK(row->shape[0] > 0 && row->shape[1] > 0 && row->bytes > 0, "%s: %s is empty", what, row->name);
        CHECK(memchr(row->name, 0, sizeof row->name) != NULL, "%s: a name without an end", what);
        for (int other = 0; other < i; other++)
            CHECK(strcmp(rows[other].name, row->name) != 0, "%s: two rows are called %s", what, row->name);
        end += row->bytes;
    }
    CHECK(end == bytes, "%s: rows of %zu bytes, %zu in all", what, end, bytes);
}

static int has_row(const fbp_plan_row *rows, int n_rows, const char *name) {
    for (int i = 0; i < n_rows; i++)
        if (strcmp(rows[i].name, name) == 0) return 1;
    return 0;
}

/* The rows of a plan are all of the memory, and every layer has its z, whatever the trainer is for. */
static void plans_add_up(fbp_dtype dtype, const fbp_kernels *kernels) {
    static const int depths[] = {1, 2, 3, MOST_LAYERS};
    (void)kernels;
    for (int way = 0; way < 128; way++) {
        int n_layers = depths[way & 3], widths[MOST_LAYERS + 1], acts[MOST_LAYERS];
        for (int l = 0; l <= n_layers; l++) {
            widths[l] = l == n_layers && way & 1 ? 1 : 1 + (int)random_below(200);
            acts[l % MOST_LAYERS] = FBP_ACT_relu;
        }
        fbp_config config = {.n_layers = n_layers,
                             .widths = widths,
                             .acts = acts,
                             .loss = FBP_LOSS_squared_error,
                             .dtype = dtype,
                             .optimizer = way & 8 ? FBP_OPT_none : FBP_OPT_adam,
                             .batch = 1 + random_below(300),
                             .n_threads = 1 + (int)random_below(4),
                             .sparse = way >> 4 & 1,
                             .forward_only = way >> 5 & 1};
        char *given = getenv("FASTBP_DENSE") ? strdup(getenv("FASTBP_DENSE")) : NULL;
        setenv("FASTBP_DENSE", way & 4 ? "blas" : "packed", 1);
        size_t whole = 0;
        for (int limited = 0; limited < 2; limited++) {
            char what[96];
            fbp_trainer *tr;
            config.max_memory = limited ? whole / 2 : 0;
            fbp_status status = fbp_trainer_new(&tr, &config, 1);
            fbp_plan plan = fbp_trainer_plan(tr);
            snprintf(what, sizeof what, "%d layers, way %d, batch %ld%s", n_layers, way, (long)config.batch,
                     limited ? ", half the memory" : "");
            CHECK(status == FBP_OK || (limited && status == FBP_ETOOSMALL), "%s: status %d", what, status);
            rows_add_up(plan.arena_rows, plan.n_arena_rows, plan.arena_bytes, what);
            rows_add_up(plan.kept_rows, plan.n_kept_rows, plan.kept_bytes, what);
            CHECK(!plan.arena, "%s: memory while measuring", what);
            CHECK(!limited || status != FBP_OK || plan.arena_bytes <= config.max_memory, "%s: too much", what);
            CHECK(limited || plan.batch_rows == config.batch, "%s: %ld rows", what, (long)plan.batch_rows);
            int64_t numbers = 0;
            for (int l = 0; l < n_layers; l++) {
                char name[16];
                snprintf(name, sizeof name, "z[%d]", l);
                numbers += ((int64_t)widths[l] + 1) * widths[l + 1];
                CHECK(has_row(plan.arena_rows, plan.n_arena_rows, name), "%s: %s", what, name);
            }
            CHECK(has_row(plan.arena_rows, plan.n_arena_rows, "x") == !config.sparse, "%s: x", what);
            CHECK(plan.n_params == numbers, "%s: %ld parameters", what, (long)plan.n_params);
            whole = plan.arena_bytes;
            fbp_trainer_free(tr);
        }
        if (given)
            setenv("FASTBP_DENSE", given, 1);
        else
            unsetenv("FASTBP_DENSE");
        free(given);
    }
}

/* ---- a pass ------------------------------------------------------------ */

enum { LAYERS = 4, ROWS = 37, OUTPUTS = 3 };
static const int WIDTHS[LAYERS + 1] = {9, 70, 33, 18, OUTPUTS};

static void naive_gemm(char *trans_a, char *trans_b, int *m, int *n, int *k, double *alpha, double *a, int *lda,
                       double *b, int *ldb, double *beta, double *c, int *ldc) {
    for (int j = 0; j < *n; j++)
        for (int i = 0; i < *m; i++) {
            double sum = 0;
            for (int p = 0; p < *k; p++)
                sum += (*trans_a == 'N' ? a[i + p * *lda] : a[p + i * *lda]) *
                       (*trans_b == 'N' ? b[p + j * *ldb] : b[j + p * *ldb]);
            c[i + j * *ldc] = *alpha * sum + (*beta == 0 ? 0 : *beta * c[i + j * *ldc]);
        }
}
static const fbp_blas naive_blas = {NULL, naive_gemm};

/* Every number of the gradient is the difference that it makes: of dense X and of its entries, in one pass and in
 * several, in either layout of dz, in order. */
static void gradients_are_differences(fbp_dtype dtype, const fbp_kernels *kernels) {
    static double x[ROWS * 9], y[ROWS * OUTPUTS], weight[ROWS];
    static int32_t indptr[ROWS + 1], indices[ROWS * 9];
    static int64_t order[ROWS];
    const int acts[LAYERS - 1] = {FBP_ACT_tanh, FBP_ACT_logistic, FBP_ACT_relu};
    char *given = getenv("FASTBP_DENSE") ? strdup(getenv("FASTBP_DENSE")) : NULL;
    if (dtype != FBP_F64) /* float is too coarse for differences */
        return;
    for (int i = 0; i < ROWS; i++) {
        indptr[i + 1] = (i + 1) * 9;
        order[i] = (i * 5 + 3) % ROWS;
        weight[i] = random_between(0.5, 2);
        for (int j = 0; j < 9; j++) indices[i * 9 + j] = j;
    }
    fill_random(x, ROWS * 9, -1, 1, FBP_F64);
    fill_random(y, ROWS * OUTPUTS, -1, 1, FBP_F64);
    for (int way = 0; way < 8; way++) {
        int sparse = way & 1, passes = way >> 1 & 1, packed = way >> 2;
        fbp_data data = {.rows = ROWS,
                         .features = 9,
                         .outputs = OUTPUTS,
                         .csr = sparse,
                         .x_dtype = FBP_F64,
                         .x = x,
                         .row_stride = 9 * sizeof(double),
                         .col_stride = sizeof(double),
                         .indptr = indptr,
                         .indices = indices,
                         .n_entries = ROWS * 9,
                         .y_dtype = FBP_F64,
                         .y = y,
                         .weight = weight};
        fbp_config config = {.n_layers = LAYERS,
                             .widths = WIDTHS,
                             .acts = acts,
                             .loss = FBP_LOSS_squared_error,
                             .dtype = FBP_F64,
                             .optimizer = FBP_OPT_none,
                             .batch = ROWS,
                             .n_threads = 1,
                             .sparse = sparse,
                             .blas = &naive_blas};
        fbp_trainer *tr;
        setenv("FASTBP_DENSE", packed ? "packed" : "blas", 1);
        if (passes) {
            CHECK(fbp_trainer_new(&tr, &config, 1) == FBP_OK, "a plan");
            config.max_memory = fbp_trainer_plan(tr).arena_bytes * 2 / 3;
            fbp_trainer_free(tr);
        }
        CHECK(fbp_trainer_new(&tr, &config, 0) == FBP_OK, "a trainer");
        fbp_plan plan = fbp_trainer_plan(tr);
        CHECK((plan.batch_rows < ROWS) == passes, "%ld rows", (long)plan.batch_rows);
        double *params = malloc((size_t)plan.n_params * sizeof(double)), *grad = malloc((size_t)plan.n_params * 8);
        fill_random(params, plan.n_params, -0.4, 0.4, FBP_F64);
        memset(grad, 0xff, (size_t)plan.n_params * 8);
        fbp_epoch epoch = {
            .data = &data, .order = order, .n = ROWS, .batch = ROWS, .params = params, .alpha = 0.01, .loss_scale = 1};
        double value = fbp_trainer_value_grad(tr, &epoch, grad);
        CHECK(isfinite(value), "%g", value);
        for (int64_t i = 0; i < plan.n_params; i += i < 200 || i > plan.n_params - 140 ? 1 : 7 * check_share()) {
            double at = params[i], step = 1e-5, difference;
            params[i] = at + step;
            difference = fbp_trainer_value_grad(tr, &epoch, NULL);
            params[i] = at - step;
            difference = (difference - fbp_trainer_value_grad(tr, &epoch, NULL)) / (2 * step);
            params[i] = at;
            CHECK(fabs(grad[i] - difference) <= 1e-7, "%s, way %d: gradient %ld is %.9g, not %.9g", kernels->isa, way,
                  (long)i, grad[i], difference);
        }
        free(params);
        free(grad);
        fbp_trainer_free(tr);
    }
    if (given)
        setenv("FASTBP_DENSE", given, 1);
    else
        unsetenv("FASTBP_DENSE");
    free(given);
}

/* What a loss is told is the trainer's own: the caller's numbers may go. */
static void parameters_of_a_loss_are_kept(fbp_dtype dtype, const fbp_kernels *kernels) {
    int widths[] = {1, 2};
    double told[] = {0.25, 0.75}, x = 1, y[] = {2, 2};
    void *params = calloc(4, item_of(dtype)); /* outputs of 0 */
    fbp_config config = {.n_layers = 1,
                         .widths = widths,
                         .loss = FBP_LOSS_quantile,
                         .dtype = dtype,
                         .batch = 1,
                         .n_threads = 1,
                         .loss_params = told};
    fbp_data data = {.rows = 1,
                     .features = 1,
                     .outputs = 2,
                     .x_dtype = FBP_F64,
                     .x = &x,
                     .row_stride = sizeof x,
                     .col_stride = sizeof x,
                     .y_dtype = FBP_F64,
                     .y = y};
    fbp_epoch epoch = {.data = &data, .n = 1, .batch = 1, .params = params, .loss_scale = 1, .finite = 1};
    fbp_trainer *tr;
    CHECK(fbp_trainer_new(&tr, &config, 0) == FBP_OK, "a trainer");
    told[0] = told[1] = NAN;
    double loss = fbp_trainer_value_grad(tr, &epoch, NULL);
    CHECK(loss == 2 * 0.25 + 2 * 0.75, "%s %s: a loss of %g", kernels->isa, dtype_name(dtype), loss);
    fbp_trainer_free(tr);
    free(params);
}

int main(void) {
    parameters_lie_one_after_the_other();
    parameters_that_cannot_be_counted_are_a_status();
    at_every_level(plans_add_up);
    at_every_level(gradients_are_differences);
    at_every_level(parameters_of_a_loss_are_kept);
    return check_report("net");
}
