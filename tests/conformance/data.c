#include "data.h"

#include <stdint.h>

#include "harness.h"
#include "reference.h"
#include "test.h"

static unsigned long long seed_of(int rank, unsigned seed)
{
    return (unsigned long long)seed * 1000003u + (unsigned)rank;
}

static void put_number(dhole_dtype dtype, uint8_t *out, int value, int imaginary)
{
    uint16_t half;
    float f32[2] = {(float)value, (float)imaginary};
    double f64 = value;
    int64_t integer = value;

    switch (dtype) {
    case DHOLE_BOOL: *out = value & 1; break;
    case DHOLE_F16:
        half = reference_encode(&format_f16, value);
        memcpy(out, &half, 2);
        break;
    case DHOLE_BF16:
        half = reference_encode(&format_bf16, value);
        memcpy(out, &half, 2);
        break;
    case DHOLE_F32:
    case DHOLE_C64: memcpy(out, f32, dhole_dtype_size(dtype)); break;
    case DHOLE_F64: memcpy(out, &f64, 8); break;
    default:
        for (size_t i = 0; i < dhole_dtype_size(dtype); i++)
            out[i] = (uint8_t)((uint64_t)integer >> (8 * i));
    }
}

void fill_numbers(dhole_dtype dtype, int rank, unsigned seed, void *data, size_t count)
{
    unsigned long long state = seed_of(rank, seed);
    size_t size = dhole_dtype_size(dtype);

    for (size_t i = 0; i < count; i++) {
        unsigned long long r = test_random(&state);
        put_number(dtype, (uint8_t *)data + i * size, (int8_t)r, (int8_t)(r >> 8));
    }
}

void fill_anything(dhole_dtype dtype, int rank, unsigned seed, void *data, size_t count)
{
    unsigned long long state = seed_of(rank, seed);

    fill_elements(dtype, data, count, &state);
}

size_t first_wrong(enum dhole__op op, dhole_dtype dtype, int size, unsigned seed,
                   fill_function *fill, const void *out, size_t count)
{
    size_t element = dhole_dtype_size(dtype), i = 0;
    uint8_t *in[ranks_max], want[8];

    for (int rank = 0; rank < size; rank++) {
        in[rank] = malloc(count * element + 1);
        fill(dtype, rank, seed, in[rank], count);
    }
    for (i = 0; i < count; i++) {
        reference_many(op, dtype, (const void *const *)in, size, i, want);
        if (memcmp(want, (const uint8_t *)out + i * element, element) != 0)
            break;
    }
    for (int rank = 0; rank < size; rank++)
        free(in[rank]);
    return i;
}
