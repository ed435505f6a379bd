/* The loops of struct dhole__kernels, written once over the vectors of an instruction
 * set. A file kernels_*.c defines what follows, includes this, and ends with
 * KERNELS(symbol, name):
 *
 *   LANES   floats in a vector: 4, 8 or 16
 *   vf      LANES floats, with + - * and comparison; splat, load, store, fma_, min_ and max_
 *           (the second operand when one is not a number), load_f16, load_bf16,
 *           store_f16, store_low_bytes (of each lane)
 *   vd      LANES / 2 doubles: low_half and high_half of a vf
 *   vb, vi  4 columns of LANES rows in bytes; LANES exact sums of their products
 *   unpack_, dot_, times_16_ and value_ for each quantised type: see struct format in loops_quant.h
 *   load_nibbles, load_bytes  4 columns of LANES rows from a tile, in nibbles those and 4 more
 *   UNPACKED   what unpack_ writes: 12 with pairs, else 8
 *   HAS_PAIRS  whether unpack_q4_ and load_nibbles write pairs (loops_quant.h)
 *   Q8_OFFSET  what unpack_q8_0 adds to the bytes
 *   TOKENS  tokens that share an unpacked block in registers, even
 *   ROWS    rows that share a token's floats in registers, for float weights
 *   DIMS    vectors of a value that share its weight in registers, for attention
 *   QUERIES queries that share the loads of keys and values, 4 or more
 *
 * Quantised products keep rows in the lanes: a block of 32 columns of LANES rows is
 * unpacked and transposed, then a token's bytes are broadcast four at a time. So nothing
 * is summed across lanes, one scaling serves LANES rows, and an unpacked block serves
 * many tokens; for a single token it never leaves the registers. Dot products within a
 * block are integer, hence exact; from block to block a row and a token see
 *   sum = fma(value of the block, scale of the token's block, sum)
 * however many rows and tokens go along. Float products keep columns in the lanes. */
#ifndef DHOLE_NN_KERNELS_LOOPS_H
#define DHOLE_NN_KERNELS_LOOPS_H

#include "nn/loops_attend.h"
#include "nn/loops_float.h"
#include "nn/loops_ops.h"
#include "nn/loops_quant.h"

static void matmul(const struct dhole__matmul *m, size_t first, size_t last)
{
    switch (m->type) {
    case DHOLE__F32: all_float_rows(DHOLE__F32, m, first, last); break;
    case DHOLE__F16: all_float_rows(DHOLE__F16, m, first, last); break;
    case DHOLE__BF16: all_float_rows(DHOLE__BF16, m, first, last); break;
    case DHOLE__Q4_0: quant_rows(tile_q4_0, m, first, last); break;
    case DHOLE__Q4_1: quant_rows(tile_q4_1, m, first, last); break;
    case DHOLE__Q8_0: quant_rows(tile_q8_0, m, first, last); break;
    }
}

#define KERNELS(symbol, text)              \
    const struct dhole__kernels symbol = { \
        .name = text,                      \
        .quantise = quantise,              \
        .matmul = matmul,                  \
        .attend = attend,                  \
        .to_f16 = to_f16,                  \
        .rms_norm = rms_norm,              \
        .swiglu = swiglu,                  \
    }

#endif
