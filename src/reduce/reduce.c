#include "reduce/reduce.h"

#include <stdint.h>
#include <string.h>

#include "reduce/loops.h"

/* A strip of the accumulator and of one source fit in the first-level cache together. */
enum { strip_bytes = 8192 };

const char *dhole__op_name(enum dhole__op op)
{
    switch (op) {
    case DHOLE__SUM: return "sum";
    case DHOLE__MAX: return "max";
    case DHOLE__MIN: return "min";
    }
    return "?";
}

bool dhole__reduce_supported(enum dhole__op op, dhole_dtype dtype)
{
    return (unsigned)op < dhole__op_count && (unsigned)dtype < dhole__dtype_count;
}

static dhole_err unsupported(enum dhole__op op, dhole_dtype dtype)
{
    return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                       "cannot reduce: operation %d (%s) on element type %d (%s) is not one of "
                       "dhole__op and dhole_dtype",
                       (int)op, dhole__op_name(op), (int)dtype, dhole_dtype_name(dtype));
}

dhole_err dhole__reduce(enum dhole__op op, dhole_dtype dtype, const void *a, const void *b,
                        void *out, size_t count)
{
    if (!dhole__reduce_supported(op, dtype))
        return unsupported(op, dtype);
    dhole__loops()->fold[op][dtype](a, b, out, count);
    return DHOLE_OK;
}

static const void *at(const void *base, size_t bytes)
{
    return (const uint8_t *)base + bytes;
}

/* n >= 3. The last fold of a strip is the first to write to out, when every other source
 * of the strip has been read. */
static void fold_many(dhole__fold_loop *fold, size_t size, const void *const *sources, int n,
                      void *out, size_t count)
{
    _Alignas(64) uint8_t acc[strip_bytes];
    const size_t strip = strip_bytes / size;

    for (size_t done = 0; done < count; done += strip) {
        const size_t len = count - done < strip ? count - done : strip;
        const size_t offset = done * size;

        fold(at(sources[0], offset), at(sources[1], offset), acc, len);
        for (int i = 2; i < n - 1; i++)
            fold(acc, at(sources[i], offset), acc, len);
        fold(acc, at(sources[n - 1], offset), (uint8_t *)out + offset, len);
    }
}

static void sum_wide(const struct dhole__wide_loops *loops, const void *const *sources, int n,
                     void *out, size_t count)
{
    enum { strip = strip_bytes / sizeof(float), size = 2 };
    _Alignas(64) float acc[strip];

    for (size_t done = 0; done < count; done += strip) {
        const size_t len = count - done < strip ? count - done : strip;
        const size_t offset = done * size;

        loops->start(acc, at(sources[0], offset), len);
        for (int i = 1; i < n; i++)
            loops->add(acc, at(sources[i], offset), len);
        loops->finish(acc, (uint8_t *)out + offset, len);
    }
}

dhole_err dhole__reduce_many(enum dhole__op op, dhole_dtype dtype, const void *const *sources,
                             int n, void *out, size_t count)
{
    const struct dhole__loops *loops = dhole__loops();

    if (!dhole__reduce_supported(op, dtype))
        return unsupported(op, dtype);
    if (count == 0)
        return DHOLE_OK;
    if (n == 1)
        memmove(out, sources[0], count * dhole_dtype_size(dtype));
    else if (n == 2)
        loops->fold[op][dtype](sources[0], sources[1], out, count);
    else if (op == DHOLE__SUM && dtype == DHOLE_F16)
        sum_wide(&loops->f16, sources, n, out, count);
    else if (op == DHOLE__SUM && dtype == DHOLE_BF16)
        sum_wide(&loops->bf16, sources, n, out, count);
    else
        fold_many(loops->fold[op][dtype], dhole_dtype_size(dtype), sources, n, out, count);
    return DHOLE_OK;
}

/* NULL: partial results are of the type itself. */
static const struct dhole__wide_loops *wide_loops(enum dhole__op op, dhole_dtype dtype)
{
    if (op != DHOLE__SUM)
        return NULL;
    if (dtype == DHOLE_F16)
        return &dhole__loops()->f16;
    return dtype == DHOLE_BF16 ? &dhole__loops()->bf16 : NULL;
}

size_t dhole__reduce_partial_size(enum dhole__op op, dhole_dtype dtype)
{
    return wide_loops(op, dtype) != NULL ? sizeof(float) : dhole_dtype_size(dtype);
}

dhole_err dhole__reduce_partial(enum dhole__op op, dhole_dtype dtype, const void *const *sources,
                                int n, void *out, size_t count)
{
    const struct dhole__wide_loops *wide = wide_loops(op, dtype);

    if (wide == NULL)
        return dhole__reduce_many(op, dtype, sources, n, out, count);
    wide->start(out, sources[0], count);
    for (int i = 1; i < n; i++)
        wide->add(out, sources[i], count);
    return DHOLE_OK;
}

dhole_err dhole__reduce_partials(enum dhole__op op, dhole_dtype dtype, const void *const *partials,
                                 int n, void *out, size_t count)
{
    enum { strip = strip_bytes / sizeof(float), size = 2 };
    const struct dhole__wide_loops *wide = wide_loops(op, dtype);
    dhole__fold_loop *add = dhole__loops()->fold[DHOLE__SUM][DHOLE_F32];
    _Alignas(64) float acc[strip];

    if (wide == NULL)
        return dhole__reduce_many(op, dtype, partials, n, out, count);
    for (size_t done = 0; done < count; done += strip) {
        const size_t len = count - done < strip ? count - done : strip;
        const size_t offset = done * sizeof(float);

        memcpy(acc, at(partials[0], offset), len * sizeof(float));
        for (int i = 1; i < n; i++)
            add(acc, at(partials[i], offset), acc, len);
        wide->finish(acc, (uint8_t *)out + done * size, len);
    }
    return DHOLE_OK;
}
