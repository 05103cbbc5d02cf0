/* The loop nest of all packed products. B is taken in blocks of kc rows by nc columns, which stay in the L2 cache while
 * all rows of A pass by; A in groups of micro-panels, loaded with f applied into a buffer that the L1 cache holds:
 *
 *     for jc, columns of C          all of them with A^T: a group then meets every block of B while it is loaded
 *       for pc, the summed dimension
 *         for ic, groups of rows of C         load A
 *           for jb, blocks of columns
 *             for i, micro-tiles; for j, panels: the micro-kernel
 *
 * While k runs a micro-tile prefetches its share of the next block of B, some of the next A, and its C. */
#include "gemm/gemm.h"

/* Memory that micro-tiles prefetch between them: `pieces`, each of `bytes` and `stride` bytes apart. Every tile
 * takes the next `share` bytes. */
typedef struct {
    const char *piece;
    int64_t bytes, stride, pieces, share, done;
} stream;

typedef struct {
    const fbp_gemm *g;
    const fbp_gemm_kernels *kern;
    int64_t kc, nc; /* of a block of B */
    int64_t mr, mc; /* rows of C: of a micro-tile, and of those whose A is loaded together */
    int64_t k, n;   /* numbers summed, and columns without the edge */
    int again;      /* A is used again: a group of rows meets several blocks of B */
    stream next;
} nest;

/* Columns of a block of k rows: all, if a panel of the next block has room too; or whole panels. */
static int64_t block_columns(const fbp_gemm_kernels *kern, fbp_dtype dtype, int64_t k, int64_t n) {
    int64_t nr = kern->nr, row = k * (int64_t)fbp_item(dtype);
    return (n + nr) * row <= kern->b_block ? n : fbp_max(kern->b_block / (nr * row), 1) * nr;
}

/* Micro-panels of A^T that are loaded together. */
static int64_t panels_together(int again, int long_rows) {
    return again || long_rows ? FBP_PANELS_AGAIN : FBP_PANELS_ONCE;
}

size_t fbp_gemm_scratch(const fbp_gemm_kernels *kern, fbp_dtype dtype, int64_t k, int n, int trans_a, int long_rows,
                        int *overflow) {
    if (!trans_a) return fbp_size(kern->mr, FBP_KC, fbp_item(dtype), overflow);
    /* k, and any smaller one, whose blocks may be longer: 257 is cut into 129 and 128, 256 is not cut */
    int64_t longest = fbp_min(k, FBP_KC);
    int again = block_columns(kern, dtype, longest, n) < n;
    return fbp_size(panels_together(again, long_rows) * kern->aw, longest, fbp_item(dtype), overflow);
}

static nest nest_of(const fbp_gemm *g) {
    nest t = {.g = g, .kern = &g->kernels->gemm, .k = g->trans_a ? g->a.rows : g->a.cols, .n = g->c.cols - g->edge};
    t.kc = g->b.kc;
    t.nc = block_columns(t.kern, g->b.dtype, t.kc, t.n);
    t.mr = t.mc = fbp_block_of(g->m1 - g->m0, t.kern->mr, 1);
    if (g->trans_a) {
        t.again = t.nc < t.n;
        int many = t.again || g->a.layout == FBP_POINTERS;
        t.mc *= g->near && !many ? 1 : panels_together(t.again, many);
    }
    return t;
}

/* A block of B, in shares for so many tiles; nothing of a B that stays in the L1 cache. */
static stream stream_of(const fbp_operand *b, int64_t j, int64_t columns, int64_t k0, int64_t tiles) {
    int64_t item = (int64_t)fbp_item(b->dtype), panels = fbp_ceil_div(columns, b->nr);
    int64_t bytes = fbp_min(b->kc, b->rows - k0) * b->nr * item;
    stream s = {.piece = fbp_b_panel(b, j, k0), .bytes = bytes, .stride = b->rows * b->nr * item, .pieces = panels};
    if (b->layout == FBP_BLOCKS) { /* its panels follow each other */
        s.bytes = bytes * panels;
        s.pieces = 1;
    }
    s.share = fbp_min((bytes * panels / fbp_max(tiles, 1) + FBP_ALIGN - 1) & -(int64_t)FBP_ALIGN, s.bytes);
    return s;
}

/* After the block (jb, pc) and rows ic.. of C: the block that comes next, or what the next product reads first. */
static stream next_stream(const nest *t, int64_t jc, int64_t jb, int64_t pc, int64_t ic) {
    const fbp_gemm *g = t->g;
    const fbp_operand *b = &g->b;
    int64_t rows = t->again ? fbp_min(t->mc, g->m1 - ic) : g->m1 - g->m0;
    int64_t tiles = fbp_ceil_div(rows, t->mr) * fbp_ceil_div(fbp_min(t->nc, t->n - jb), t->kern->nr);
    int64_t j = jb, k0 = pc;
    if (t->again) {
        j = jb + t->nc < t->n ? jb + t->nc : jc;
        k0 = j > jc || ic + t->mc < g->m1 ? pc : pc + t->kc;
    } else {
        k0 = pc + t->kc < t->k ? pc + t->kc : 0;
        j = k0 ? jb : jb + t->nc;
    }
    if (j < t->n && k0 < t->k)
        return b->layout == FBP_ROWS ? (stream){0} : stream_of(b, j, fbp_min(t->nc, t->n - j), k0, tiles);
    b = g->next_b;
    if (!b || !b->data || b->layout == FBP_ROWS || b->rows * b->cols * (int64_t)fbp_item(b->dtype) <= FBP_B_SMALL)
        return (stream){0};
    return stream_of(b, 0, fbp_min(block_columns(t->kern, b->dtype, b->kc, b->cols), b->cols), 0, tiles);
}

/* The next tile's share, over its k. */
static void take_share(stream *s, fbp_prefetch *p, int64_t k) {
    if (!s->pieces) return;
    p->b_next = s->piece + s->done;
    p->b_step = fbp_min(fbp_ceil_div(s->share, k), FBP_ALIGN); /* a small product cannot prefetch it all */
    s->done += s->share;
    if (s->done >= s->bytes) {
        s->done = 0;
        s->piece += s->stride;
        s->pieces--;
    }
}

/* Row i of A, column j; of PANELS a whole panel follows. */
static const void *a_at(const fbp_operand *a, int64_t i, int64_t j) {
    return a->layout == FBP_POINTERS ? fbp_at(((const void *const *)a->data)[i], j, a->dtype) : fbp_element(a, i, j);
}

/* With panel number jth: some of the next micro-panel of A, rows i..: a row of it, a panel of its rows, or, of an A^T
 * beyond the L2 cache, the ends of its rows. */
static void next_a(const nest *t, fbp_prefetch *p, int64_t i, int64_t jth, int64_t pc, int64_t k) {
    const fbp_operand *a = &t->g->a;
    int64_t item = (int64_t)fbp_item(a->dtype), nr = t->kern->nr;
    if (t->g->trans_a) {
        int far = a->rows * a->cols * item > FBP_FAR_BYTES;
        if (jth > 0 || i >= t->g->m1 || t->again || a->layout == FBP_POINTERS || !far) return;
        p->a_next = a_at(a, pc, i + t->kern->aw - 1);
        p->a_step = a->ld * item;
    } else if (a->layout == FBP_PANELS) {
        if (i >= t->g->m1 || jth * nr >= k) return;
        p->a_next = a_at(a, i, pc + jth * nr);
        p->a_step = fbp_min(fbp_ceil_div(t->mr * nr * item, k), FBP_ALIGN);
    } else if (i + jth < t->g->m1) {
        p->a_next = a_at(a, i + jth, pc);
        p->a_step = item;
    }
}

/* The A of rows ic..end of C and of k numbers from pc on, into scratch. */
static void load_a(const nest *t, int64_t ic, int64_t end, int64_t pc, int64_t k) {
    const fbp_gemm *g = t->g;
    const fbp_operand *a = &g->a;
    const fbp_gemm_kernels *kern = t->kern;
    if (!g->trans_a) {
        int m = (int)(end - ic);
        if (a->layout == FBP_PANELS)
            kern->load_panels(g->scratch, a_at(a, ic, pc), a->rows * a->nr, m, (int)k);
        else if (a->layout == FBP_POINTERS)
            for (int r = 0; r < m; r++)
                kern->load_rows[g->act](fbp_at(g->scratch, r * FBP_KC, a->dtype), a_at(a, ic + r, pc), 0, 1, (int)k);
        else
            kern->load_rows[g->act](g->scratch, a_at(a, ic, pc), a->ld, m, (int)k);
        if (g->drop > 0) g->kernels->elementwise.drop(g->scratch, FBP_KC, a_at(a, ic, pc), a->ld, m, (int)k, g->drop);
        return;
    }
    if (a->layout == FBP_POINTERS) {
        kern->load_columns_at(g->scratch, (const void *const *)a->data + pc, k, ic, end, t->mr, a->cols);
        return;
    }
    int64_t rows = end - ic > t->mr ? FBP_LOAD_ROWS : k;
    for (int64_t r = 0; r < k; r += rows)
        for (int64_t i = ic, s = 0; i < end; i += t->mr, s++) {
            int whole = i + kern->aw <= a->cols; /* what lies beyond the micro-panel is read and not used */
            int cols = whole ? kern->aw : (int)fbp_min(t->mr, end - i);
            void *to = fbp_at(g->scratch, (s * k + r) * kern->aw, a->dtype);
            const void *from = a_at(a, pc + r, i);
            kern->load_columns[g->act](to, from, a->ld, fbp_min(rows, k - r), cols);
            if (g->drop > 0)
                g->kernels->elementwise.drop(to, kern->aw, from, a->ld, fbp_min(rows, k - r), cols, g->drop);
        }
}

/* Rows i..i+m of C, columns jb..j1, from one micro-panel of A. */
static void row_of_tiles(nest *t, const void *a, int64_t i, int m, int64_t jb, int64_t j1, int64_t pc, int64_t k) {
    const fbp_gemm *g = t->g;
    fbp_dtype dtype = g->a.dtype;
    fbp_ukernel *kernel = g->trans_a ? t->kern->along_columns : t->kern->along_rows;
    int nr = t->kern->nr, last = pc + k == t->k, drops = last && g->drop_c > 0;
    int derives = last && g->act_c != FBP_ACT_identity;
    for (int64_t j = jb, jth = 0; j < j1; j += nr, jth++) {
        void *c = fbp_element(&g->c, i - g->m0, j);
        const void *z = derives || drops ? fbp_element(&g->z_c, i, j) : NULL;
        int cols = (int)fbp_min(nr, t->n - j), in_registers = derives && g->act_c == FBP_ACT_relu && cols == nr;
        fbp_post_ops post = {.accumulate = g->accumulate || pc > 0,
                             .bias = g->bias ? fbp_at(g->bias, j, dtype) : NULL,
                             .relu_z = in_registers ? z : NULL,
                             .ldz = g->z_c.ld};
        fbp_prefetch prefetch = {.b_next = a, .a_next = a};
        if (!g->near) {
            take_share(&t->next, &prefetch, k);
            next_a(t, &prefetch, i + t->mr, jth, pc, k);
        }
        kernel(m, g->c.layout == FBP_PANELS ? nr : cols, k, a, fbp_b_panel(&g->b, j, pc), g->b.ld, c, g->c.ld, &post,
               g->near ? NULL : &prefetch);
        if (derives && !in_registers) g->kernels->elementwise.derive[g->act_c](c, g->c.ld, z, g->z_c.ld, m, cols);
        if (drops) g->kernels->elementwise.drop(c, g->c.ld, z, g->z_c.ld, m, cols, g->drop_c);
    }
}

/* The edge columns of rows i..i+m of C. */
static void edge_of_tiles(const nest *t, const void *a, int64_t i, int m, int64_t pc, int64_t k) {
    const fbp_gemm *g = t->g;
    fbp_dtype dtype = g->a.dtype;
    void *c = fbp_element(&g->c, i - g->m0, t->n);
    if (g->trans_a)
        t->kern->edge_columns(m, g->edge, k, a, fbp_element(&g->b, pc, t->n), c, g->c.ld, g->accumulate || pc > 0);
    else
        t->kern->edge_rows(m, g->edge, k, a, fbp_at(g->b_edge, pc * 4, dtype), fbp_edge_group(t->kern, t->k), c,
                           g->c.ld, fbp_at(g->bias, t->n, dtype), pc > 0);
}

/* Rows ic..end of C from one block of B. */
static void block(nest *t, int64_t jb, int64_t pc, int64_t k, int64_t ic, int64_t end) {
    const fbp_gemm *g = t->g;
    int64_t j1 = fbp_min(jb + t->nc, t->n);
    for (int64_t i = ic, s = 0; i < end; i += t->mr, s++) {
        int m = (int)fbp_min(t->mr, end - i);
        const void *a = fbp_at(g->scratch, s * k * t->kern->aw, g->a.dtype);
        row_of_tiles(t, a, i, m, jb, j1, pc, k);
        if (g->edge && j1 == t->n) edge_of_tiles(t, a, i, m, pc, k);
    }
}

void fbp_gemm_packed(const fbp_gemm *g) {
    nest t = nest_of(g);
    int64_t outer = g->trans_a ? fbp_max(t.n, 1) : fbp_max(t.nc, 1); /* all columns may be edge columns */
    for (int64_t jc = 0; jc == 0 || jc < t.n; jc += outer)
        for (int64_t pc = 0; pc < t.k; pc += t.kc) {
            int64_t k = fbp_min(t.kc, t.k - pc);
            for (int64_t ic = g->m0; ic < g->m1; ic += t.mc) {
                int64_t end = fbp_min(ic + t.mc, g->m1);
                load_a(&t, ic, end, pc, k);
                for (int64_t jb = jc; jb == jc || jb < fbp_min(jc + outer, t.n); jb += fbp_max(t.nc, 1)) {
                    if (!g->near && (t.again || ic == g->m0)) t.next = next_stream(&t, jc, jb, pc, ic);
                    block(&t, jb, pc, k, ic, end);
                }
            }
        }
}
