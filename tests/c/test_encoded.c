/* The kernels of an encoded first layer, beside the inputs that the cells stand for, for every width and tile, with
 * operands that end at a forbidden page. */
#include "check.h"

enum { N = 5, COLUMNS = 140, MOST_ROWS = 9 };

static guarded block[8];
static fbp_column columns[COLUMNS];
static double raws[COLUMNS][MOST_ROWS];

/* The first `n` columns of every sort: numbers with and without rows of their own behind the knots, and categories. */
static fbp_encoding new_encoding(int n) {
    int first = 0;
    for (int c = 0; c < n; c++) {
        int knots = c % 3 == 2 ? 0 : 2 + (int)random_below(6), rows = knots ? knots + c % 2 : 1 + (int)random_below(7);
        for (int k = 0; k < knots; k++) raws[c][k] = (k ? raws[c][k - 1] : -1) + random_between(0.1, 1);
        columns[c] = (fbp_column){.first = first, .rows = rows, .knots = knots, .raw = raws[c]};
        first += rows;
    }
    return (fbp_encoding){n, columns};
}

/* Cells between knots, on them, behind them, and those that are none. */
static double random_cell(const fbp_column *column) {
    static const double none[] = {-1, -0.5, 1e30, NAN, -INFINITY, INFINITY};
    switch (random_below(8)) {
    case 0: return none[random_below(6)];
    case 1: return (double)random_below(column->rows + 1);
    case 2: return random_between(0, column->rows);
    default: return column->knots ? random_between(0, column->knots - 1) : (double)random_below(column->rows);
    }
}

/* Input `row` of the column for a cell p. */
static double input_of(const fbp_column *column, double p, int row) {
    if (!(p >= 0 && p < column->rows)) return 0;
    int k = (int)p;
    double f = p - k;
    if (!column->knots || k >= column->knots) return k == row;
    if (row >= column->knots) return 0;
    double next = k + 1 < column->knots ? column->raw[k + 1] : column->raw[k];
    if (row == 0) return (1 - f) * column->raw[k] + f * next;
    return p >= row ? 1 : p > row - 1 ? p - (row - 1) : 0;
}

static void check_near(const void *got, int64_t i, double want, double size, fbp_dtype dtype, const char *what) {
    double g = get(got, i, dtype), limit = 30 * epsilon_of(dtype) * (size + 1);
    CHECK(fabs(g - want) <= limit, "%s %s %d: %g, not %g", check_where, what, (int)i, g, want);
}

typedef struct {
    fbp_encoding e;
    int in, out, scaled;
    void *x, *W, *s, *b, *dz, *T;
    double a[N][COLUMNS * MOST_ROWS]; /* the inputs */
} problem;

static void new_problem(problem *p, int n_columns, int out, int scaled, fbp_dtype dtype) {
    p->e = new_encoding(n_columns);
    p->in = fbp_encoding_rows(&p->e), p->out = out, p->scaled = scaled;
    p->x = at_end(block[0], N * n_columns, dtype);
    p->W = at_end(block[1], (int64_t)p->in * out, dtype);
    p->s = at_end(block[2], p->in, dtype);
    p->b = at_end(block[3], out, dtype);
    p->dz = at_end(block[4], N * out, dtype);
    p->T = at_end(block[5], (int64_t)p->in * out, dtype);
    fill_random(p->W, (int64_t)p->in * out, -1, 1, dtype);
    fill_random(p->s, p->in, 0.5, 1.5, dtype);
    fill_random(p->b, out, -1, 1, dtype);
    fill_random(p->dz, N * out, -1, 1, dtype);
    for (int i = 0; i < N; i++)
        for (int c = 0; c < n_columns; c++) {
            put(p->x, i * n_columns + c, random_cell(&columns[c]), dtype);
            for (int r = 0; r < columns[c].rows; r++)
                p->a[i][columns[c].first + r] = input_of(&columns[c], get(p->x, i * n_columns + c, dtype), r);
        }
}

static double scale_of(const problem *p, int row, fbp_dtype dtype) { return p->scaled ? get(p->s, row, dtype) : 1; }

/* Rows of a table from cut to cut, as tiles are; now and then all of them. */
static int next_cut(const problem *p, int cut) {
    for (int c = cut == 0 && random_below(4) == 0 ? p->e.n_columns : 0; c < p->e.n_columns; c++) {
        int end = columns[c].first + columns[c].rows;
        if (columns[c].first <= cut && cut < end && !columns[c].knots) return cut + 1; /* within categories, too */
        if (end > cut && random_below(3) == 0) return end;
    }
    return p->in;
}

static void forward(const problem *p, fbp_dtype dtype, const fbp_kernels *k) {
    void *z = at_end(block[6], N * p->out, dtype);
    for (int cut = 0, end; cut < p->in; cut = end) {
        end = next_cut(p, cut);
        k->encoded.tabulate(p->T, p->W, p->scaled ? p->s : NULL, &p->e, cut, end, p->out);
        for (int j = 0; end < p->in && j < p->out; j++)
            CHECK(isnan(get(p->T, (int64_t)end * p->out + j, dtype)), "row %d of the next tile was written", end);
    }
    k->encoded.forward(z, p->x, p->e.n_columns, N, &p->e, p->T, p->b, p->out);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < p->out; j++) {
            double sum = get(p->b, j, dtype), size = 0;
            for (int r = 0; r < p->in; r++) {
                double term = p->a[i][r] * scale_of(p, r, dtype) * get(p->W, (int64_t)r * p->out + j, dtype);
                sum += term, size += fabs(term);
            }
            check_near(z, i * p->out + j, sum, size, dtype, "z");
        }
}

/* dz in panels of nr columns, as the packed products have it, or row-major */
static const void *in_panels(const problem *p, int nr, fbp_dtype dtype) {
    int panels = (p->out + nr - 1) / nr;
    void *to = at_end(block[7], (int64_t)panels * nr * N, dtype);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < p->out; j++)
            put(to, ((int64_t)(j / nr) * N + i) * nr + j % nr, get(p->dz, i * p->out + j, dtype), dtype);
    return to;
}

static void gradient(const problem *p, int nr, int accumulate, fbp_dtype dtype, const fbp_kernels *k) {
    const void *dz = in_panels(p, nr, dtype);
    for (int cut = 0, end; cut < p->in; cut = end) {
        end = next_cut(p, cut);
        int64_t count = (int64_t)(end - cut) * p->out;
        char *dW = at_end(block[6], count + (end - cut), dtype);
        void *ds = p->scaled ? dW + (size_t)count * item_of(dtype) : NULL;
        k->encoded.weight_grad(dW, dz, nr, p->x, p->e.n_columns, N, &p->e, cut, end, p->out, 0);
        if (accumulate) k->encoded.weight_grad(dW, dz, nr, p->x, p->e.n_columns, N, &p->e, cut, end, p->out, 1);
        k->encoded.finish(dW, ds, p->W, p->scaled ? p->s : NULL, &p->e, cut, end, p->out);
        for (int r = cut; r < end; r++) {
            double scale_grad = 0, scale_size = 0;
            for (int j = 0; j < p->out; j++) {
                double sum = 0, size = 0, w = get(p->W, (int64_t)r * p->out + j, dtype);
                for (int i = 0; i < N; i++) {
                    double term = (1 + accumulate) * p->a[i][r] * get(p->dz, i * p->out + j, dtype);
                    sum += term, size += 10 * fabs(get(p->dz, i * p->out + j, dtype));
                }
                check_near(dW, (int64_t)(r - cut) * p->out + j, scale_of(p, r, dtype) * sum, size, dtype, "dW");
                scale_grad += w * sum, scale_size += fabs(w) * size;
            }
            if (ds) check_near(ds, r - cut, scale_grad, scale_size, dtype, "ds");
        }
    }
}

static void layers_are_those_of_the_dense_inputs(fbp_dtype dtype, const fbp_kernels *k) {
    static problem p;
    for (int s = 0; s < CHECK_N_SIZES; s++)
        for (int scaled = 0; scaled < 2; scaled++) {
            int n_columns = s % 8 == 0 ? COLUMNS : 1 + (int)random_below(9); /* more than are handled at a time */
            new_problem(&p, n_columns, CHECK_SIZES[s], scaled, dtype);
            forward(&p, dtype, k);
            gradient(&p, k->gemm.nr, s % 2, dtype, k);
            gradient(&p, p.out, 0, dtype, k);
        }
}

int main(void) {
    for (int i = 0; i < 8; i++)
        block[i] = guarded_new((size_t)COLUMNS * MOST_ROWS * (CHECK_LARGEST + 1) * sizeof(double));
    at_every_level(layers_are_those_of_the_dense_inputs);
    for (int i = 0; i < 8; i++) guarded_free(block[i]);
    return check_report("test_encoded");
}
