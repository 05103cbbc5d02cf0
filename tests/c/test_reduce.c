/* An epoch that several ranks make: the gradient is handed out whole once a step, what comes back is used, and a rank
 * that ends early tells the others, once. The other ranks are played by the function that adds up. */
#include <time.h>

#include "check.h"

/* A second passes between two looks at the clock, so poll is asked at each. */
static atomic_int looks;

#ifdef _WIN32
static ULONGLONG WINAPI tick(void) { return 1000u * (unsigned)atomic_fetch_add(&looks, 1); }
ULONGLONG(WINAPI *__imp_GetTickCount64)(void) = tick; /* by way of it the core calls */
#else
int clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    *now = (struct timespec){.tv_sec = atomic_fetch_add(&looks, 1)};
    return 0;
}
#endif

enum { LAYERS = 4, N_ROWS = 1300, BATCH = 200, STEPS = 7, MADE = 6 }; /* one step has no weight */
static const int WIDTHS[LAYERS + 1] = {20, 96, 96, 96, 5},
                                 ACTS[LAYERS - 1] = {FBP_ACT_relu, FBP_ACT_tanh, FBP_ACT_relu};
static double x[N_ROWS * 20], weight[N_ROWS], totals[STEPS];
static int32_t y[N_ROWS];
static int64_t ends[STEPS], rows[STEPS];

typedef enum { DOUBLE, SPOIL, FAIL, EXPECT_NOTHING } answer;

typedef struct {
    fbp_trainer *tr;
    fbp_data data;
    fbp_epoch epoch;
    fbp_reduction reduction;
    int64_t n_params;
    double *vectors; /* params, two of state */
    int polls, stop_at;
    int reduced, excused;
    answer answer; /* from the call of this number on */
    int answer_at;
} rank;

static int poll(void *context) {
    rank *r = context;
    return ++r->polls == r->stop_at;
}

/* As if the other ranks had the same rows. */
static int reduce(void *context, void *vector, int64_t n) {
    rank *r = context;
    double *v = vector;
    CHECK(n == r->n_params + 1, "%ld numbers", (long)n);
    r->reduced++;
    r->excused += isnan(v[n - 1]);
    if (r->reduced >= r->answer_at && r->answer == SPOIL) v[n - 1] = NAN;
    if (r->reduced >= r->answer_at && r->answer == FAIL) return 1;
    for (int64_t i = 0; i < n; i++) {
        if (r->answer == EXPECT_NOTHING) CHECK(v[i] == 0, "number %ld is %g", (long)i, v[i]);
        v[i] *= 2;
    }
    return 0;
}

static void begin(rank *r, int n_threads, size_t max_memory) {
    fbp_config config = {.n_layers = LAYERS,
                         .widths = WIDTHS,
                         .acts = ACTS,
                         .loss = FBP_LOSS_log_loss,
                         .dtype = FBP_F64,
                         .optimizer = FBP_OPT_adam,
                         .batch = BATCH,
                         .n_threads = n_threads,
                         .max_memory = max_memory,
                         .keep_grad = 1,
                         .reduces = 1};
    memset(r, 0, sizeof *r);
    CHECK(fbp_trainer_new(&r->tr, &config, 0) == FBP_OK, "a trainer");
    fbp_plan plan = fbp_trainer_plan(r->tr);
    CHECK(plan.n_threads == n_threads, "%d threads", plan.n_threads);
    CHECK((plan.batch_rows < BATCH) == (max_memory > 0), "%ld rows", (long)plan.batch_rows);
    for (int i = 0; i < plan.n_kept_rows; i++)
        if (strcmp(plan.kept_rows[i].name, "grad") == 0)
            CHECK(plan.kept_rows[i].shape[0] == plan.n_params + 1, "room for %ld", (long)plan.kept_rows[i].shape[0]);
    r->n_params = plan.n_params;
    r->vectors = malloc((size_t)(3 * r->n_params) * sizeof(double));
    r->data = (fbp_data){.rows = N_ROWS,
                         .features = 20,
                         .x_dtype = FBP_F64,
                         .x = x,
                         .row_stride = 20 * sizeof(double),
                         .col_stride = sizeof(double),
                         .y_dtype = FBP_I32,
                         .y = y,
                         .weight = weight};
}

static void end(rank *r) {
    fbp_trainer_free(r->tr);
    free(r->vectors);
}

/* As before the first call. */
static void reset(rank *r, int alone) {
    random_state = 7;
    memset(r->vectors, 0, (size_t)(3 * r->n_params) * sizeof(double));
    fill_random(r->vectors, r->n_params, -0.2, 0.2, FBP_F64);
    r->polls = r->stop_at = r->reduced = r->excused = 0;
    r->answer = DOUBLE;
    r->answer_at = 1;
    r->reduction = (fbp_reduction){
        .n_steps = STEPS, .ends = ends, .rows = rows, .totals = totals, .counts_penalty = 1, .reduce = reduce};
    r->epoch = (fbp_epoch){.data = &r->data,
                           .n = N_ROWS,
                           .batch = BATCH,
                           .params = r->vectors,
                           .state = {r->vectors + r->n_params, r->vectors + 2 * r->n_params},
                           .alpha = alone ? 1e-3 : 2e-3, /* there are twice as many rows then */
                           .learning_rate = 1e-3,
                           .beta_1 = 0.9,
                           .beta_2 = 0.999,
                           .epsilon = 1e-8,
                           .loss_scale = 1,
                           .max_grad_norm = 0.05,
                           .poll = poll,
                           .poll_context = r,
                           .reduction = alone ? NULL : &r->reduction,
                           .finite = 1};
}

static void new_rows(void) {
    fill_random(x, N_ROWS * 20, -1, 1, FBP_F64);
    for (int i = 0; i < N_ROWS; i++) {
        y[i] = (int32_t)random_below(5);
        weight[i] = i / BATCH == 2 ? 0 : random_between(0.5, 2);
    }
    for (int s = 0; s < STEPS; s++) {
        ends[s] = s + 1 < STEPS ? (s + 1) * BATCH : N_ROWS;
        rows[s] = 2 * (ends[s] - s * BATCH);
        totals[s] = 0;
        for (int64_t i = s * BATCH; i < ends[s]; i++) totals[s] += 2 * weight[i];
    }
}

/* Sums of two equal numbers are exact, and so are their halves. */
static void equal_ranks_are_one(int n_threads, size_t max_memory) {
    rank r;
    double sums[2];
    begin(&r, n_threads, max_memory);
    size_t bytes = (size_t)(3 * r.n_params) * sizeof(double);
    double *alone = malloc(bytes);
    reset(&r, 1);
    fbp_trainer_epoch(r.tr, &r.epoch);
    CHECK(r.epoch.t == MADE && r.reduced == 0, "%ld updates", (long)r.epoch.t);
    memcpy(alone, r.vectors, bytes);
    sums[0] = r.epoch.loss_sum;
    reset(&r, 0);
    fbp_trainer_epoch(r.tr, &r.epoch);
    CHECK(r.epoch.t == MADE && r.reduced == MADE && r.reduction.step == STEPS && r.epoch.row == N_ROWS,
          "%ld updates, %d times", (long)r.epoch.t, r.reduced);
    CHECK(memcmp(alone, r.vectors, bytes) == 0, "other numbers: %d threads", n_threads);
    sums[1] = r.epoch.loss_sum;
    reset(&r, 0);
    r.reduction.counts_penalty = 0;
    fbp_trainer_epoch(r.tr, &r.epoch);
    /* two of these with one penalty between them */
    CHECK(fabs((sums[1] + r.epoch.loss_sum) / (2 * sums[0]) - 1) < 1e-12, "losses of %g and %g, not %g", sums[1],
          r.epoch.loss_sum, 2 * sums[0]);
    CHECK(r.epoch.loss_sum < sums[1], "the penalty counts twice");
    free(alone);
    end(&r);
}

/* Whoever ends early says so once, and goes on from there; whoever hears of it has not made that update. */
static void ends_anywhere(int n_threads, size_t max_memory) {
    static double *after[MADE + 1]; /* the vectors after so many updates */
    rank r;
    begin(&r, n_threads, max_memory);
    size_t bytes = (size_t)(3 * r.n_params) * sizeof(double);
    for (int made = 0; made <= MADE; made++) {
        reset(&r, 0);
        r.answer = SPOIL;
        r.answer_at = made + 1;
        fbp_trainer_epoch(r.tr, &r.epoch);
        CHECK(r.epoch.t == made && r.epoch.finite == (made == MADE), "%ld updates, not %d", (long)r.epoch.t, made);
        CHECK(isfinite(r.epoch.loss_sum), "a loss of others is ours");
        after[made] = memcpy(malloc(bytes), r.vectors, bytes);
        r.answer = DOUBLE;
        r.epoch.finite = 1;
        if (made == 3) fbp_trainer_epoch(r.tr, &r.epoch);
        if (made == 3) CHECK(r.epoch.t == MADE && r.reduction.step == STEPS, "did not go on");
        if (made == 3) after[MADE] = memcpy(malloc(bytes), r.vectors, bytes);
        if (made == MADE) CHECK(memcmp(after[MADE], r.vectors, bytes) == 0, "went on to other numbers");
    }
    for (int k = 1, polls = 1; k <= polls; k += 3) {
        reset(&r, 0);
        r.stop_at = k;
        fbp_trainer_epoch(r.tr, &r.epoch);
        polls = r.polls;
        if (polls < k) break; /* it has come to its end */
        int64_t made = r.epoch.t;
        int excused = r.reduced == made + 1 && r.excused == 1;
        CHECK(made == MADE ? r.reduced == MADE && !r.excused : excused, "poll %d: %ld updates, %d reduced, %d excused",
              k, (long)made, r.reduced, r.excused);
        CHECK(memcmp(r.vectors, after[made], bytes) == 0, "%d threads, ended at %d", n_threads, k);
        r.excused = r.reduced = 0;
        fbp_trainer_epoch(r.tr, &r.epoch); /* goes on */
        CHECK(r.epoch.t == MADE && r.reduced == MADE - made && memcmp(r.vectors, after[MADE], bytes) == 0,
              "went on to other numbers after %ld", (long)made);
        polls = k + 3;
    }
    CHECK(r.polls >= 3 * MADE, "poll was asked %d times", r.polls);
    reset(&r, 0);
    r.answer = FAIL;
    r.answer_at = 3;
    fbp_trainer_epoch(r.tr, &r.epoch);
    CHECK(r.epoch.t == 2 && r.reduced == 3 && memcmp(r.vectors, after[2], bytes) == 0, "%ld updates, %d reduced",
          (long)r.epoch.t, r.reduced);
    for (int made = 0; made <= MADE; made++) free(after[made]);
    end(&r);
}

/* A rank without rows in a step, or without weight, adds zeros, whatever was there. */
static void nothing_adds_nothing(int n_threads) {
    static const int64_t none[STEPS] = {0, 0, 0, 0, 0, 0, N_ROWS};
    rank r;
    begin(&r, n_threads, 0);
    for (int weightless = 0; weightless < 2; weightless++) {
        reset(&r, 0);
        r.answer = EXPECT_NOTHING;
        double steps[STEPS] = {4, 0, 4, 4, 4, 4, 0}, nothing[N_ROWS] = {0};
        r.reduction.totals = steps;
        r.data.weight = weightless ? nothing : weight;
        r.reduction.ends = weightless ? ends : none;
        fbp_trainer_epoch(r.tr, &r.epoch);
        CHECK(r.epoch.t == 5 && r.reduced == 5 && r.reduction.step == STEPS, "%ld updates", (long)r.epoch.t);
    }
    end(&r);
}

int main(void) {
    new_rows();
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        equal_ranks_are_one(n_threads, 0);
        equal_ranks_are_one(n_threads, 360000);
        ends_anywhere(n_threads, n_threads == 2 ? 360000 : 0);
        nothing_adds_nothing(n_threads);
    }
    return check_report("reduce");
}
