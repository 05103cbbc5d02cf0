"""The parts of a C file that are the same for every model of a kind.

`$n` stands for the prefix of its names, `$real` for the type of its numbers, and `$f` for the
ending of the functions of libm for that type.
"""

LAYER = """\
typedef struct {
    const ${n}_real *weights; /* (n_in, n_out), row by row */
    const ${n}_real *bias;
    int n_in, n_out;
    void (*function)(${n}_real *z, int n); /* or 0 */
} ${n}_layer;
"""

# Of the hidden layers: z = ...
ACTIVATIONS = {
    "logistic": "1 / (1 + exp$f(-z[i]))",
    "tanh": "tanh$f(z[i])",
    "relu": "z[i] < 0 ? 0 : z[i]",
    "leaky_relu": "z[i] > 0 ? z[i] : ($real)0.01 * z[i]",
    "elu": "z[i] > 0 ? z[i] : expm1$f(z[i])",
    "selu": "($real)1.0507009873554804934 * (z[i] > 0 ? z[i] : "
    "($real)1.6732632423543772848 * expm1$f(z[i]))",
    "gelu": "($real)0.5 * z[i] * erfc$f(-z[i] * ($real)0.70710678118654752440)",
    "silu": "z[i] / (1 + exp$f(-z[i]))",
    "mish": "z[i] * tanh$f((z[i] > 0 ? z[i] : 0) + log1p$f(exp$f(-fabs$f(z[i]))))",
    "softplus": "(z[i] > 0 ? z[i] : 0) + log1p$f(exp$f(-fabs$f(z[i])))",
}

ACTIVATION = """\
static void ${n}_$function(${n}_real *z, int n) {
    for (int i = 0; i < n; i++) z[i] = $formula;
}
"""

DENSE = """\
/* z = a weights + bias, and the function of the layer */
static void ${n}_dense(const ${n}_layer *layer, const ${n}_real *a, ${n}_real *z) {
    const ${n}_real *w = layer->weights;
    for (int j = 0; j < layer->n_out; j++) z[j] = layer->bias[j];
    for (int i = 0; i < layer->n_in; i++, w += layer->n_out)
        for (int j = 0; j < layer->n_out; j++) z[j] += a[i] * w[j];
    if (layer->function) layer->function(z, layer->n_out);
}
"""

COLUMN = """\
/* A column of the table. A cell of it is a position p in its rows of the first layer. */
typedef struct {
    int first, rows;
    int n_knots, n_labels;    /* of a column of numbers; of one of categories */
    const double *values;     /* the knots, or labels that are numbers: rising */
    const char *const *texts; /* labels that are text, in the order of their bytes; or 0 */
    double scale;             /* of numbers */
    double missing;           /* position of a missing cell, -1 for none */
} ${n}_column;
"""

POSITION = """\
static double ${n}_position(const ${n}_column *c, double x) {
    int low = 0, high = c->n_knots > 0 ? c->n_knots - 1 : c->n_labels;
    if (x != x) return c->missing; /* NaN */
    if (c->texts) { /* what the function of categories gives */
        int k;
        if (!(x >= 0 && x < c->n_labels + (c->missing >= 0))) return -1;
        k = (int)x;
        return k == x ? k : -1;
    }
    if (c->n_knots > 0) {
        x *= c->scale;
        if (x <= c->values[0]) return 0;
        if (x >= c->values[high]) return high;
    }
    while (high - low > 1) { /* values[low] is at most x, values[high] above it */
        int middle = low + (high - low) / 2;
        if (c->values[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    if (c->n_knots > 0) return low + (x - c->values[low]) / (c->values[high] - c->values[low]);
    return c->n_labels > 0 && c->values[low] == x ? low : -1;
}
"""

ENCODED = """\
/* The first layer: row p of the weights for each column, or between two rows. */
static void ${n}_encoded(const ${n}_layer *layer, const ${n}_real *p, ${n}_real *z) {
    const int n = layer->n_out;
    for (int j = 0; j < n; j++) z[j] = layer->bias[j];
    for (int i = 0; i < ${n}_n_inputs; i++) {
        const ${n}_column *c = &${n}_columns[i];
        if (!(p[i] >= 0 && p[i] < c->rows)) continue;
        const int k = (int)p[i];
        const ${n}_real f = p[i] - (${n}_real)k;
        const ${n}_real *w = layer->weights + (size_t)(c->first + k) * (size_t)n;
        if (f > 0 && k + 1 < c->n_knots)
            for (int j = 0; j < n; j++) z[j] += (1 - f) * w[j] + f * w[n + j];
        else
            for (int j = 0; j < n; j++) z[j] += w[j];
    }
    if (layer->function) layer->function(z, n);
}
"""

NET = """\
/* What the last layer of a net gives, in a or b. */
static const ${n}_real *${n}_net(const ${n}_layer *layers, const ${n}_real *p, ${n}_real *a,
                                 ${n}_real *b) {
    ${n}_$first(&layers[0], p, a);
    for (int l = 1; l < $n_layers; l++) {
        ${n}_real *z = b;
        ${n}_dense(&layers[l], a, z);
        b = a;
        a = z;
    }
    return a;
}
"""

CATEGORY = """\
static int ${n}_compare(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return (int)(unsigned char)*a - (int)(unsigned char)*b;
}

int ${n}_category(int input, const char *text) {
    if (input < 0 || input >= ${n}_n_inputs || !${n}_columns[input].texts) return -1;
    const ${n}_column *c = &${n}_columns[input];
    if (!text) return (int)c->missing;
    int low = 0, high = c->n_labels;
    while (low < high) {
        int middle = low + (high - low) / 2, order = ${n}_compare(text, c->texts[middle]);
        if (order == 0) return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}
"""

SOFTMAX = """\
/* v = softmax(v / temperature) */
static void ${n}_softmax(double *v, int n, double temperature) {
    double largest = v[0], sum = 0;
    for (int i = 1; i < n; i++) largest = v[i] > largest ? v[i] : largest;
    for (int i = 0; i < n; i++) sum += v[i] = exp((v[i] - largest) / temperature);
    for (int i = 0; i < n; i++) v[i] /= sum;
}
"""

LOGISTIC = """\
static double ${n}_probability(double z) { return 1 / (1 + exp(-z)); }
"""

DEVIATION = """\
/* sqrt(exp(z) + 1e-6), also where exp(z) is infinite and its root is not; from t = 2000 on it is */
static double ${n}_deviation_of(double z) {
    double t = z > 0 ? z < 2000 ? z : 2000 : 0;
    return exp(t / 2) * sqrt(exp(z - t) + 1e-6 * exp(-t));
}
"""

LOG_SUM = """\
/* log(exp(a) + exp(b)) */
static double ${n}_log_sum(double a, double b) {
    return a > b ? a + log1p(exp(b - a)) : b + log1p(exp(a - b));
}
"""

PREDICT = """\
void ${n}_predict(const double *x, double *out) {
    ${n}_real p[${n}_n_inputs], a[$widest], b[$widest];
    for (int i = 0; i < ${n}_n_inputs; i++) p[i] = (${n}_real)$position;
$body}
"""

CONSTANT = """\
void ${n}_predict(const double *x, double *out) {
    (void)x;
    for (int j = 0; j < $n_out; j++) out[j] = ${n}_constant[j];
}
"""

# The bodies of the prediction by one net, for each function of the last layer.
ONE_NET = """\
    const ${n}_real *z = ${n}_net(${n}_layers[0], p, a, b);
"""
FUNCTIONS = {
    "identity": "    for (int j = 0; j < $width; j++) out[j] = z[j];\n",
    "exp": "    for (int j = 0; j < $width; j++) out[j] = exp(z[j]);\n",
    "logistic": "    for (int j = 0; j < $width; j++) "
    "out[j] = ${n}_probability(z[j] / $temperature);\n",
    "softmax": "    for (int j = 0; j < $width; j++) out[j] = z[j];\n"
    "    ${n}_softmax(out, $width, $temperature);\n",
    "mean_and_std": "    for (int j = 0; j < $width / 2; j++) out[j] = z[j];\n"
    "    for (int j = $width / 2; j < $width; j++) out[j] = ${n}_deviation_of(z[j]);\n",
}
# After them, of two classes.
BOTH = """\
    out[1] = out[0];
    out[0] = 1 - out[1];
"""

MEAN_OF_NUMBERS = """\
    for (int j = 0; j < $width; j++) out[j] = 0;
    for (int m = 0; m < $n_members; m++) {
        const ${n}_real *z = ${n}_net(${n}_layers[m], p, a, b);
        for (int j = 0; j < $width; j++) out[j] += z[j];
    }
    for (int j = 0; j < $width; j++)
        out[j] = ${n}_mean[j] + ${n}_deviation[j] * (out[j] / $n_members);
"""

MEAN_OF_CLASSES = """\
    for (int m = 0; m < $n_members; m++) { /* logarithms, up to a constant */
        const ${n}_real *z = ${n}_net(${n}_layers[m], p, a, b);
        double largest = z[0], sum = 0;
        for (int j = 1; j < $width; j++) largest = z[j] > largest ? z[j] : largest;
        for (int j = 0; j < $width; j++) sum += exp(z[j] - largest);
        for (int j = 0; j < $width; j++) {
            double value = z[j] - largest - log(sum);
            out[j] = m ? ${n}_log_sum(out[j], value) : value;
        }
    }
    ${n}_softmax(out, $width, $temperature);
"""

MEAN_OF_LABELS = """\
    double no[$width]; /* and out: logarithms, up to a constant */
    for (int m = 0; m < $n_members; m++) {
        const ${n}_real *z = ${n}_net(${n}_layers[m], p, a, b);
        for (int j = 0; j < $width; j++) {
            double yes = -${n}_log_sum(0, -z[j]), other = -${n}_log_sum(0, z[j]);
            out[j] = m ? ${n}_log_sum(out[j], yes) : yes;
            no[j] = m ? ${n}_log_sum(no[j], other) : other;
        }
    }
    for (int j = 0; j < $width; j++) out[j] = ${n}_probability((out[j] - no[j]) / $temperature);
"""

CLASS = """\
int ${n}_class(const double *x) {
    double out[$n_out];
    int best = 0;
    ${n}_predict(x, out);
    for (int j = 1; j < $n_out; j++) best = out[j] > out[best] ? j : best;
    return best;
}
"""
