/* A call that its caller ends at any look at the clock: threads leave together, an epoch keeps what was done before,
 * and the next call goes on from there to the same bits. */
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

enum { LAYERS = 4, N_ROWS = 900, BATCH = 200, ORDERED = 1500 };
static const int WIDTHS[LAYERS + 1] = {20, 96, 96, 96, 5},
                                 ACTS[LAYERS - 1] = {FBP_ACT_relu, FBP_ACT_tanh, FBP_ACT_relu};
static float x[N_ROWS * 20];
static int32_t y[N_ROWS];
static double weight[N_ROWS];
static int64_t order[ORDERED];

typedef struct {
    int asked, stop_at; /* 0: never */
} clerk;

static int ask(void *context) {
    clerk *c = context;
    return ++c->asked == c->stop_at;
}

typedef struct {
    fbp_trainer *tr;
    fbp_data data;
    fbp_epoch epoch;
    clerk clerk;
    int64_t n_params;
    float *vectors; /* params, two of state; gradient, output */
} call;

static void call_begin(call *c, fbp_optimizer optimizer, int n_threads, size_t max_memory, int forward_only) {
    fbp_config config = {.n_layers = LAYERS,
                         .widths = WIDTHS,
                         .acts = ACTS,
                         .loss = FBP_LOSS_log_loss,
                         .dtype = FBP_F32,
                         .optimizer = optimizer,
                         .batch = BATCH,
                         .n_threads = n_threads,
                         .max_memory = max_memory,
                         .forward_only = forward_only};
    memset(c, 0, sizeof *c);
    CHECK(fbp_trainer_new(&c->tr, &config, 0) == FBP_OK, "a trainer");
    fbp_plan plan = fbp_trainer_plan(c->tr);
    CHECK(plan.n_threads == n_threads, "%d threads", plan.n_threads);
    CHECK((plan.batch_rows < BATCH) == (max_memory > 0), "%ld rows", (long)plan.batch_rows);
    c->n_params = plan.n_params;
    c->vectors = malloc((size_t)(4 * c->n_params + ORDERED * 5) * sizeof(float));
    c->data = (fbp_data){.rows = N_ROWS,
                         .features = 20,
                         .x_dtype = FBP_F32,
                         .x = x,
                         .row_stride = 20 * sizeof(float),
                         .col_stride = sizeof(float),
                         .y_dtype = FBP_I32,
                         .y = y,
                         .weight = weight};
}

static void call_end(call *c) {
    fbp_trainer_free(c->tr);
    free(c->vectors);
}

/* As before the first call; poll stops at its `stop_at`-th time. */
static void call_reset(call *c, int stop_at) {
    random_state = 7;
    memset(c->vectors, 0, (size_t)(4 * c->n_params + ORDERED * 5) * sizeof(float));
    fill_random(c->vectors, c->n_params, -0.2, 0.2, FBP_F32);
    c->clerk = (clerk){.stop_at = stop_at};
    c->epoch = (fbp_epoch){.data = &c->data,
                           .order = order,
                           .n = ORDERED,
                           .batch = BATCH,
                           .params = c->vectors,
                           .state = {c->vectors + c->n_params, c->vectors + 2 * c->n_params},
                           .alpha = 1e-3,
                           .learning_rate = 1e-3,
                           .beta_1 = 0.9,
                           .beta_2 = 0.999,
                           .epsilon = 1e-8,
                           .loss_scale = 1,
                           .poll = ask,
                           .poll_context = &c->clerk,
                           .finite = 1};
}

/* The mini-batch of rows 400..600 has no weight. */
static void new_rows(void) {
    fill_random(x, N_ROWS * 20, -1, 1, FBP_F32);
    for (int i = 0; i < N_ROWS; i++) {
        y[i] = (int32_t)random_below(5);
        weight[i] = random_between(0.5, 2);
    }
    for (int i = 0; i < ORDERED; i++) order[i] = i < 900 ? (i * 7) % 800 : i % 400;
    for (int i = 400; i < 600; i++) order[i] = 800 + i % 100;
    for (int i = 800; i < N_ROWS; i++) weight[i] = 0;
}

enum { STEPS = 7 }; /* of an epoch */

static void an_epoch_is_ended_anywhere(int n_threads, size_t max_memory) {
    static float *after[STEPS + 1]; /* the vectors after so many updates */
    call c;
    call_begin(&c, FBP_OPT_adam, n_threads, max_memory, 0);
    size_t bytes = (size_t)(3 * c.n_params) * sizeof(float);
    for (int step = 0; step <= STEPS; step++) { /* by epochs that end there */
        call_reset(&c, 0);
        c.epoch.n = step < 3 ? step * BATCH : (step + 1) * BATCH < ORDERED ? (step + 1) * BATCH : ORDERED;
        fbp_trainer_epoch(c.tr, &c.epoch);
        CHECK(c.epoch.t == step && c.epoch.row == c.epoch.n && c.epoch.finite, "%ld updates", (long)c.epoch.t);
        after[step] = memcpy(malloc(bytes), c.vectors, bytes);
    }
    double loss_sum = c.epoch.loss_sum;
    for (int k = 1, asked = 1; k <= asked; k++) {
        call_reset(&c, k);
        fbp_trainer_epoch(c.tr, &c.epoch);
        asked = c.clerk.asked;
        int64_t steps = c.epoch.t;
        if (asked < k) break; /* it has come to its end */
        CHECK(asked == k, "poll was asked again");
        CHECK(steps >= 0 && steps <= STEPS && c.epoch.finite, "%ld updates", (long)steps);
        CHECK(c.epoch.row <= ORDERED && c.epoch.row >= steps * BATCH - BATCH / 2, "row %ld", (long)c.epoch.row);
        CHECK(memcmp(c.vectors, after[steps], bytes) == 0, "%d threads, ended at %d, after %ld updates", n_threads, k,
              (long)steps);
        fbp_trainer_epoch(c.tr, &c.epoch); /* goes on */
        CHECK(c.epoch.t == STEPS && memcmp(c.vectors, after[STEPS], bytes) == 0, "went on to other numbers");
        CHECK(c.epoch.loss_sum == loss_sum, "a loss of %g, not %g", c.epoch.loss_sum, loss_sum);
        asked = k + 1;
    }
    CHECK(c.clerk.asked >= 3 * STEPS, "poll was asked %d times", c.clerk.asked);
    for (int step = 0; step <= STEPS; step++) free(after[step]);
    call_end(&c);
}

/* A gradient, a loss, a forward pass: what was ended means nothing, the next call is right. */
static void other_calls_are_ended_anywhere(int kind, int n_threads) {
    call c;
    call_begin(&c, FBP_OPT_none, n_threads, 0, kind == 2);
    float *grad = c.vectors + 3 * c.n_params, *out = grad + c.n_params;
    size_t bytes = (size_t)(c.n_params + ORDERED * 5) * sizeof(float);
    float *expected = malloc(bytes);
    const fbp_output output = {.dtype = FBP_F32, .result = out};
    double value = 0, found = 0;
    int asked = 1;
    for (int k = 0; k <= asked; k++) {
        for (int again = 0; again < 2; again++) {
            call_reset(&c, again ? 0 : k);
            if (kind == 2)
                fbp_trainer_forward(c.tr, &c.epoch, &output);
            else
                found = fbp_trainer_value_grad(c.tr, &c.epoch, kind == 0 ? grad : NULL);
            if (!again && k > 0) CHECK(c.clerk.asked == k, "poll was asked %d times, not %d", c.clerk.asked, k);
        }
        if (k == 0) {
            asked = c.clerk.asked;
            value = found;
            memcpy(expected, grad, bytes);
        }
        CHECK(found == value && memcmp(grad, expected, bytes) == 0, "call %d, %d threads: after %d", kind, n_threads,
              k);
    }
    CHECK(asked >= 8, "poll was asked %d times", asked);
    free(expected);
    call_end(&c);
}

int main(void) {
    new_rows();
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        an_epoch_is_ended_anywhere(n_threads, 0);
        an_epoch_is_ended_anywhere(n_threads, 180000);
        for (int kind = 0; kind < 3; kind++) other_calls_are_ended_anywhere(kind, n_threads);
    }
    return check_report("poll");
}
