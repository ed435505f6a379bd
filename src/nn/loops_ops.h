/* Element-wise steps; see kernels_loops.h. */
#ifndef DHOLE_NN_LOOPS_OPS_H
#define DHOLE_NN_LOOPS_OPS_H

#include <math.h>

#include "nn/kernels.h"
#include "nn/loops_vector.h"

typedef int32_t vs __attribute__((vector_size(4 * LANES)));

/* To the nearest integer. */
INLINE vs round_(vf v)
{
    const vf magic = splat(0x1.8p23f); /* adding it leaves the integer in the low bits */

    return (vs)(v + magic) - (vs)magic;
}

enum { coarse_max = 119 }; /* a coarse byte of the second element differs from its own by up to 8 */

/* Elements i.. and 16 + i.. of a block; returns the sums of their integers. The low four bits of a
 * fine byte are the second element's last ones, which comes to 0 to 15/16 of the first one's last
 * bit. The high four, from -8 on, are the first element's last ones; the second's coarse byte makes
 * up for them. */
INLINE vs quantise_pairs(const float *x, vf inverse, struct dhole__act_block *out, int i)
{
    vs second = round_(load(x + 16 + i) * inverse), low = second & 15;
    vf shift = __builtin_convertvector(low, vf) * splat(-1.0f / 16);
    vs first = round_(fma_(load(x + i), inverse, shift));
    vs coarse = (first + 8) >> 4, high = first - (coarse << 4);
    vs other = (second >> 4) - high, fine = (high << 4) + low;

    fine -= fine == -128; /* AVX2 kernels need -127..127 */
    store_low_bytes(out->coarse + i, (vf)coarse);
    store_low_bytes(out->coarse + 16 + i, (vf)other);
    store_low_bytes(out->fine + i, (vf)fine);
    return ((coarse + other) << 8) + fine * 17;
}

static void quantise(const float *x, size_t blocks, struct dhole__act_block *out)
{
    for (size_t b = 0; b < blocks; b++, x += dhole__quant_block, out++) {
        vf most = splat(0), total = splat(0);
        for (int i = 0; i < dhole__quant_block; i += LANES)
            most = max_(most, (vf)((vu)load(x + i) & 0x7fffffff));
        float max = max_lanes(most);
        vf inverse = splat(max > 0 ? 16 * coarse_max / max : 0);
        for (int i = 0; i < dhole__quant_block / 2; i += LANES)
            total = total + __builtin_convertvector(quantise_pairs(x, inverse, out, i), vf);
        out->scale = max / (256 * coarse_max);
        out->sum = add_lanes(total);
    }
}

static void to_f16(const float *x, size_t n, uint16_t *out)
{
    uint16_t part[LANES];

    for (size_t i = 0; i < n; i += LANES) {
        vf v = max_(splat(-65504), min_(splat(65504), load_n(x + i, n - i)));
        if (n - i >= LANES) {
            store_f16(out + i, v);
        } else {
            store_f16(part, v);
            memcpy(out + i, part, (n - i) * sizeof *out);
        }
    }
}

static void rms_norm(const float *x, const float *weight, float eps, size_t n, float *out)
{
    vf squares = splat(0);

    for (size_t i = 0; i < n; i += LANES) {
        vf v = load_n(x + i, n - i);
        squares = fma_(v, v, squares);
    }
    vf scale = splat(1 / sqrtf(add_lanes(squares) / (float)n + eps));
    for (size_t i = 0; i < n; i += LANES)
        store_n(out + i, load_n(x + i, n - i) * scale * load_n(weight + i, n - i), n - i);
}

static void swiglu(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf g = load_n(gate + i, n - i);
        vf silu = g / (splat(1) + exp_(splat(0) - g));
        store_n(gate + i, silu * load_n(up + i, n - i), n - i);
    }
}

#endif
