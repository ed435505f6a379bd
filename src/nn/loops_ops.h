/* Element-wise steps; see kernels_loops.h. */
#ifndef DHOLE_NN_LOOPS_OPS_H
#define DHOLE_NN_LOOPS_OPS_H

#include <math.h>

#include "nn/kernels.h"
#include "nn/loops_vector.h"

/* Adding `magic` rounds to an integer, which then is in the low bits. */
static void quantise(const float *x, size_t blocks, int8_t *q, float *scale, float *q_sum)
{
    const vf magic = splat(0x1.8p23f), step = splat(dhole__quant_step);

    for (size_t b = 0; b < blocks; b++, x += dhole__quant_block, q += 2 * dhole__quant_block) {
        vf most = splat(0), total = splat(0);
        for (int i = 0; i < dhole__quant_block; i += LANES)
            most = max_(most, (vf)((vu)load(x + i) & 0x7fffffff));
        float max = max_lanes(most);
        vf inverse = splat(max > 0 ? 127 / max : 0);
        for (int i = 0; i < dhole__quant_block; i += LANES) {
            vf coarse = fma_(load(x + i), inverse, magic);
            vf rest = fma_(load(x + i), inverse, magic - coarse);
            vf fine = fma_(rest, step, magic);
            store_low_bytes(q + i, coarse);
            store_low_bytes(q + dhole__quant_block + i, fine);
            total = total + fma_(coarse - magic, step, fine - magic);
        }
        scale[b] = max / (127 * dhole__quant_step);
        q_sum[b] = add_lanes(total);
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
