/* net: layers, and what they do in one pass over the arena. No arithmetic here: products are gemm's, elementwise work
 * is the kernels'. A layer is of one of a few kinds; a kind is one file, with the functions of fbp_layer_kind.
 *
 * Forward, loss and input gradient are local to rows, so threads take row tiles; weight gradients need all rows of
 * the pass and are cut by rows of W. */
#pragma once

#include "data/source.h"
#include "gemm/gemm.h"

typedef struct {
    const fbp_kernels *kernels;
    const fbp_kernels *kernels_f64; /* of the same level, for results that are wanted in F64 */
    const fbp_blas *blas;
    fbp_dtype param_dtype;          /* of the kernels; a forward pass by `direct` may have F32 for kernels of F64 */
    int direct;                     /* products with W as it stands */
    int packed;                     /* products by packed kernels, dz in panels; otherwise by BLAS, all row-major */
} fbp_backend;

static inline const fbp_kernels *fbp_kernels_for(const fbp_backend *be, fbp_dtype dtype) {
    return dtype == FBP_F64 ? be->kernels_f64 : be->kernels;
}

struct fbp_layer_kind;
typedef struct {
    const struct fbp_layer_kind *kind;
    int in, out;
    fbp_activation act;           /* of this layer; identity for the output layer (the loss has its own) */
    double dropout;               /* share of the layer's input that an epoch drops */
    const fbp_param *W, *b;       /* in the table of parameters */
    const fbp_param *s;           /* of an encoded first layer: a scale of every row of W; or NULL */
    const fbp_encoding *encoding; /* of a first layer, or NULL */
    void *table;                  /* of an encoded layer: T, see encoded_template.h */
    fbp_operand w, w_T;           /* B operands: W, and W^T where there is an input gradient (else without data) */
    int edge;                     /* the last columns of W, which are not in w: see edge_template.h */
    void *w_edge;
    /* Tiles of the weight gradient are rows of W, from shapes alone: see fbp_tile_row. */
    int n_tiles, tile0; /* tiles of this layer, and of the layers before it */
    int tile_unit;      /* they begin at multiples of it */
    int units;          /* so many units are in `in` */
    int tile_rows;      /* the most rows of one */
    int64_t joined;     /* the most tiles whose dW is made, used and packed together */
    const int *cuts;    /* first rows of tiles of an encoded layer, and its end; or NULL */
} fbp_layer;

/* The first row of a tile: all have about the same number, but where columns of a table are not to be cut. */
static inline int fbp_tile_row(const fbp_layer *layer, int64_t tile) {
    if (layer->cuts) return layer->cuts[tile];
    int64_t row = tile == 0 ? 0 : layer->units * tile / layer->n_tiles * layer->tile_unit;
    return tile < layer->n_tiles ? (int)row : layer->in;
}

typedef struct {
    int n_layers; /* of weights */
    fbp_layer *layers;
    fbp_loss loss;
    int features, targets;     /* columns of X and y */
    const double *loss_params; /* see fbp_config; set by the owner of the net, as what follows */
    double label_smoothing;
    int64_t n_products;        /* weights that a row is multiplied with */
    int64_t n_params;
    int rows_down_to; /* down to this layer, input gradients follow the loss row tile by row tile; below it, layer by
                       * layer: only two dz are alive at once */
} fbp_net;

/* Fills `layers` and `params` (work arrays of n_layers and fbp_params_count), by what config says of the net. */
fbp_status fbp_net_init(fbp_net *net, fbp_layer *layers, fbp_param *params, const fbp_config *config);

/* Where one pass lives: pointers into the arena. */
typedef struct {
    fbp_fetched fetched;
    void **z;                  /* z[l] (n, out_l), row-major */
    void *dz[2];               /* dz of hidden layer l in dz[l & 1] */
    void *dz_top;              /* dz of the output layer: its z, or a copy in panels */
    void *d_output, *row_loss; /* answers to fbp_epoch.ask: (n, out), and (n) doubles */
} fbp_tape;

/* One pass, as one thread sees it. */
typedef struct {
    const fbp_net *net;
    const fbp_backend *be;
    const fbp_tape *tape;
    const void *params;
    fbp_batch batch;
    uint64_t drop_key;         /* of the update; what is dropped follows from it */
    int drops;                 /* this pass does */
    int64_t before;            /* rows visited before those of the source */
    int asked;                 /* dJ/d(output) and the rows' losses are the caller's, on the tape */
    void *grad_x;              /* where dJ/dX goes */
    void *scratch;             /* of this thread */
    const fbp_operand *next_b; /* what the product after this one reads first, or NULL */
} fbp_pass;

static inline const void *fbp_pass_param(const fbp_pass *p, const fbp_param *param) {
    return fbp_at(p->params, param->offset, p->be->param_dtype);
}
/* What layer l multiplies: X, or z of the layer before, to which *act is to be applied. */
fbp_operand fbp_pass_input(const fbp_pass *p, int l, fbp_activation *act);
/* dz of layer l: in panels, or row-major where BLAS does the products; of layer -1 dJ/dX, row-major. */
fbp_operand fbp_pass_dz(const fbp_pass *p, int l);
/* The factor of what is left of the input of layer l where it is marked by dropout; 0: nothing is marked. */
double fbp_pass_drop_scale(const fbp_pass *p, int l);
/* What is dropped of the input of layer l from row r on. Returns 0 if nothing is. */
int fbp_pass_drop(const fbp_pass *p, int l, int64_t r, fbp_drop *drop);
/* a = f(x), dropped, of rows r0..r0+n and columns i0..i0+cols of the input of layer l >= 1, in the scratch. */
const void *fbp_pass_activated(const fbp_pass *p, int l, int64_t r0, int64_t n, int i0, int cols);

typedef struct fbp_layer_kind {
    const char *name;
    int cut_invariant; /* results do not depend on how rows are cut, to the bit: neighbouring tiles may be joined */
    int reads_entries; /* X is not gathered */
    /* Are n rows of X better read where they are than gathered? NULL: never. */
    int (*reads_pointers)(const fbp_backend *be, const fbp_layer *layer, int64_t n);
    /* Carves copies of W, which are kept from step to step, and fills the layer's operands. l: its number; input_grad:
     * there will be one. NULL: W is used as it stands. */
    void (*lay_out)(const fbp_backend *be, fbp_layer *layer, fbp_arena *kept, int l, int input_grad);
    /* Bytes of scratch for row tiles of so many rows, and for the weight gradient of n rows. NULL: none. */
    size_t (*scratch)(const fbp_backend *be, const fbp_layer *layer, int l, int64_t tile, int64_t n, int *overflow);
    /* Rows i0..i1 of W changed: refresh the copies. NULL: there are none. */
    void (*pack)(const fbp_backend *be, const fbp_layer *layer, const void *W, int i0, int i1);
    /* Rows r0..r1 of z(n,out) = f(input) W + b; z is given from row 0. */
    void (*forward)(const fbp_pass *p, int l, void *z, int64_t r0, int64_t r1);
    /* Rows r0..r1 of dz of layer l-1: (dz W^T) * f'(z_{l-1}); of layer 0 dJ/dX = dz W^T. */
    void (*input_grad)(const fbp_pass *p, int l, int64_t r0, int64_t r1);
    /* dW(i0..i1,out) (+)= f(input)[:, i0:i1]^T dz; dW points at row i0. */
    void (*weight_grad)(const fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate);
    /* All rows have been seen: what weight_grad has summed becomes dW, and ds points at the gradient of the layer's
     * scales from i0 on, if it has any. NULL: it is dW. */
    void (*whole_grad)(const fbp_pass *p, int l, void *dW, void *ds, int i0, int i1);
} fbp_layer_kind;

extern const fbp_layer_kind fbp_layer_packed, fbp_layer_one_output, fbp_layer_blas, fbp_layer_direct, fbp_layer_sparse,
    fbp_layer_encoded;
/* The kind for layer l; sparse: X comes as entries; grad_x: dJ/dX may be asked for. */
const fbp_layer_kind *fbp_layer_kind_of(const fbp_backend *be, const fbp_layer *layer, int l, int sparse, int grad_x);

/* Rows r0..r1 of the pass: X -> z of all layers. */
void fbp_net_forward(fbp_pass *p, int64_t r0, int64_t r1);
/* Rows r0..r1: loss, and dz of the output layer from its z. Returns the weighted sum. */
double fbp_net_loss(const fbp_pass *p, int64_t r0, int64_t r1);
/* Rows r0..r1 of dz of layer l-1 from dz of layer l; l = 0: of dJ/dX. */
void fbp_net_input_grad(fbp_pass *p, int l, int64_t r0, int64_t r1);
/* Rows i0..i1 of dW of layer l (dW points at row i0), and columns j0..j1 of db (at column j0), from all rows of the
 * pass. last: of this thread's share of the layer. */
void fbp_net_weight_grad(fbp_pass *p, int l, void *dW, int i0, int i1, int accumulate, int last);
void fbp_net_bias_grad(const fbp_pass *p, int l, void *db, int j0, int j1, int accumulate);
