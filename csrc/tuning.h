/* Every number that was found by measuring, in one place. The first table has a row for each instruction set and
 * dtype; the rest hold everywhere. They were measured with bench/products.py, bench/compare.py and `make ab` on Intel
 * with AVX-512, AMD Zen 3, Zen 4 and Zen 5. */
#pragma once

/* MR     rows of the micro-tile; its width NR is two vectors. MR * 2 sums, 2 vectors of B and a broadcast fill the
 *        registers: 16, with AVX-512 32
 * AW     numbers of a row of an A micro-panel that is read along the columns of A: a vector, at least MR
 * ER     rows of a block of edge columns: 4 sums for each of them
 * GV     vectors of a block of columns of a GEMV's gradient: 4 sums for each of them
 * B      bytes of a block of B that stays in the L2 cache, with the next block */
/* dtype level        MR  AW ER GV  B */
#define FBP_BLOCKSIZES(X) \
    X(f32, baseline, 6,  8, 2, 2, 1 << 19) \
    X(f64, baseline, 6,  8, 2, 2, 1 << 19) \
    X(f32, avx2,     6,  8, 2, 2, 1 << 19) \
    X(f64, avx2,     6,  8, 2, 2, 1 << 19) \
    X(f32, avx512,  14, 16, 6, 4, 1 << 19) \
    X(f64, avx512,  14, 16, 6, 4, 1 << 19)
#define FBP_ENUM_BLOCKSIZES(dtype, level, mr, aw, er, gv, b) \
    FBP_MR_##dtype##_##level = mr, FBP_AW_##dtype##_##level = aw, FBP_ER_##dtype##_##level = er, \
    FBP_GV_##dtype##_##level = gv, FBP_B_##dtype##_##level = b,
enum { FBP_BLOCKSIZES(FBP_ENUM_BLOCKSIZES) };

enum {
    /* products */
    FBP_KC = 256,             /* numbers summed at a time; a multiple of every NR */
    FBP_B_SMALL = 1 << 15,    /* bytes of a B that stays in the L1 cache however its rows lie */
    FBP_NEAR_BYTES = 1 << 18, /* of all operands of a product that needs no prefetching */
    FBP_FAR_BYTES = 1 << 20,  /* of an A that is not in the L2 cache any more */
    FBP_PANELS_AGAIN = 9,     /* A micro-panels along columns that are loaded together, if they are used again */
    FBP_PANELS_ONCE = 2,      /* and if they are used once: neighbours share lines of z */
    FBP_LOAD_ROWS = 8,        /* rows of z that are cut into them together: their lines stay in the L1 cache */
    FBP_PACK_ROWS = 16,       /* rows of a matrix that are packed together */
    FBP_EDGE_ROWS = 64,       /* of a W whose last columns may be an edge: its sums are worth adding up */
    FBP_LONG_ROW = 1024,      /* bytes of a row of X that is better read where it is than gathered */
    FBP_PACKED_MIN_ROWS = 64, /* rows of a prediction that pay for packing the weights */
    FBP_DIRECT_ROWS = 6,      /* rows of a tile of fewer, whose sums then fill the registers */
    /* cutting a mini-batch */
    FBP_ROW_TILES = 64,             /* row tiles of a pass at most, if they are not too long then */
    FBP_ROW_TILE_PACKED = 16,       /* rows below which a row tile is not worth its while */
    FBP_ROW_TILE_BLAS = 64,         /* the same where BLAS packs the weights anew for each */
    FBP_JOINED_ROWS = 1024,         /* rows that go through the layers together where cuts are free, at most */
    FBP_LEAST_JOINED_ROWS = 64,     /* the same at least, however wide the layers */
    FBP_WEIGHT_TILE = 32,           /* rows of W of a tile, about; a multiple of every panel */
    FBP_WEIGHT_UNIT = 16,           /* rows of W whose transposes fill whole vectors */
    FBP_JOINED_WEIGHTS = 1 << 16,   /* numbers of dW that are made, used and packed while in the L2 cache */
    FBP_JOINED_SPARSE = 1 << 18,    /* the same of a sparse first layer: each part of dW reads all entries of X */
    FBP_ENCODED_TILE = 128,         /* rows of W of a tile of an encoded table, unless one column has more */
    FBP_BIAS_COLUMNS = 64,          /* of db that are one thread's; a multiple of every NR */
    FBP_FLOPS_PER_TILE = 1 << 21,   /* of a BLAS call for the weight gradient */
    FBP_FLOPS_PER_THREAD = 2000000, /* about 15 us of work pays for the barriers of a step */
    FBP_SPARE_THREADS = 8,          /* whose scratch max_memory leaves room for */
    FBP_SMALL_SHARE = 8,            /* a gradient of one part in 8 of the arena is small enough to be kept whole */
    /* elementwise */
    FBP_DROP_ROWS = 16,            /* of a GEMV whose input is dropped, made at a time */
    FBP_GATHER_AHEAD = 2,          /* rows that a gather prefetches ahead */
    FBP_GATHER_BYTES = 4096,       /* of each of them at most */
    FBP_LOSS_BLOCK = 64,           /* rows (or columns) whose intermediate values live on the stack */
    FBP_ENTRIES_AT_ONCE = 256,     /* entries of a sparse row that are handled at a time */
    FBP_CELLS_AT_ONCE = 128,       /* and cells of a row of an encoded table */
    FBP_L1_NUMBERS = 1024,         /* of a slice that stays in the L1 cache between two loops */
    FBP_WEIGHTS_AT_ONCE = 1 << 20, /* sample weights that are summed without a look at the clock: some ms */
    /* threads */
    FBP_SPINS = 4000,         /* about 50 to 150 us of pauses: longer than a phase's imbalance */
    FBP_FINITE_PIECE = 16384, /* numbers that are searched for NaN together */
    FBP_FINITE_SHORT_ROW = 8, /* features of rows that are not worth a call each */
    FBP_FINITE_THREADS = 8    /* enough for the memory of most machines */
};

/* How soon a call hears its caller: within the sum of these times. */
#define FBP_POLL_SECONDS 0.05   /* taking Python's lock more often would show */
#define FBP_FLOPS_AT_ONCE 4e9   /* of a piece of work that nothing interrupts: 40 ms of a core of 100 GFLOP/s */
#define FBP_SLOW_FLOPS 1e10     /* of a mini-batch whose weights phases are worth an interruption */
