#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_file.h"

enum { dims_max = 4, alignment_default = 32, alignment_max = 1 << 16 };

static dhole_err unknown_type(const char *tensor, uint64_t type)
{
    static const char *const names[] = {
        [6] = "Q5_0",    [7] = "Q5_1",     [9] = "Q8_1",   [10] = "Q2_K",   [11] = "Q3_K",
        [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",  [15] = "Q8_K",   [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
        [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",    [25] = "I16",    [26] = "I32",
        [27] = "I64",    [28] = "F64",     [29] = "IQ1_M", [34] = "TQ1_0",  [35] = "TQ2_0",
        [39] = "MXFP4",
    };
    const char *name = type < sizeof names / sizeof *names ? names[type] : NULL;

    return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                       "tensor %s has the element type %s (%" PRIu64
                       "); take a file in F32, F16, BF16, Q8_0, Q4_0 or Q4_1",
                       tensor, name ? name : "unknown", type);
}

static dhole_err take_shape(struct dhole__reader *r, const char *name, struct dhole__tensor *t,
                            uint64_t *elements)
{
    uint64_t dims = 0;
    dhole_err err = dhole__take_number(r, 4, "a tensor's number of dimensions", &dims);

    if (err)
        return err;
    if (dims < 1 || dims > dims_max)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "tensor %s has %" PRIu64 " dimensions, 1 to %d are allowed", name, dims,
                           dims_max);
    t->dims = (int)dims;
    *elements = 1;
    for (int i = 0; i < dims_max; i++) {
        t->shape[i] = 1;
        if (i < t->dims)
            err = dhole__take_number(r, 8, "a tensor's dimension", &t->shape[i]);
        if (err)
            return err;
        if (t->shape[i] == 0 || __builtin_mul_overflow(*elements, t->shape[i], elements))
            return dhole__fail(DHOLE_ERR_FORMAT,
                               "dimension %d of tensor %s is %" PRIu64 ": empty or too large", i,
                               name, t->shape[i]);
    }
    return DHOLE_OK;
}

/* The element type, and from it the size in bytes. */
static dhole_err take_size(struct dhole__reader *r, const char *name, struct dhole__tensor *t,
                           uint64_t elements)
{
    uint64_t type = 0, block, bytes;
    dhole_err err = dhole__take_number(r, 4, "a tensor's type", &type);

    if (err)
        return err;
    t->type = (enum dhole__ttype)type;
    block = dhole__ttype_elements(t->type);
    if (block == 0)
        return unknown_type(name, type);
    if (t->shape[0] % block != 0)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "tensor %s has rows of %" PRIu64
                           " elements, not a multiple of the %" PRIu64 " in a block of %s",
                           name, t->shape[0], block, dhole__ttype_name(t->type));
    if (__builtin_mul_overflow(elements / block, dhole__ttype_bytes(t->type), &bytes) ||
        bytes > SIZE_MAX)
        return dhole__fail(DHOLE_ERR_FORMAT, "tensor %s is too large", name);
    t->bytes = (size_t)bytes;
    return DHOLE_OK;
}

static dhole_err take_tensor(struct dhole__reader *r, struct dhole__gguf_entry *e)
{
    struct dhole__gguf_string name;
    uint64_t elements = 0;
    dhole_err err = dhole__take_name(r, dhole__gguf_name_max, "a tensor's name", &name);

    if (err)
        return err;
    memcpy(e->name, name.data, name.length);
    err = take_shape(r, e->name, &e->tensor, &elements);
    if (!err)
        err = take_size(r, e->name, &e->tensor, elements);
    if (!err)
        err = dhole__take_number(r, 8, "a tensor's offset", &e->offset);
    return err;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct dhole__gguf_entry *)a)->name,
                  ((const struct dhole__gguf_entry *)b)->name);
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = ((const struct dhole__gguf_entry *)a)->offset,
             y = ((const struct dhole__gguf_entry *)b)->offset;

    return (x > y) - (x < y);
}

/* Gives each tensor its data: aligned, apart from every other, and within the file. */
static dhole_err place_tensors(struct dhole__gguf *g, int alignment)
{
    size_t align = (size_t)alignment;
    size_t start = g->header_size + (align - g->header_size % align) % align;
    size_t room = start < g->size ? g->size - start : 0;
    uint64_t end = 0;

    qsort(g->tensors, g->tensor_count, sizeof *g->tensors, compare_offsets);
    for (size_t i = 0; i < g->tensor_count; i++) {
        struct dhole__gguf_entry *e = &g->tensors[i];
        if (e->offset % align != 0)
            return dhole__fail(DHOLE_ERR_FORMAT,
                               "tensor %s has the offset %" PRIu64
                               ", not a multiple of the alignment %zu",
                               e->name, e->offset, align);
        if (e->offset < end)
            return dhole__fail(DHOLE_ERR_FORMAT,
                               "tensor %s at offset %" PRIu64
                               " overlaps tensor %s, which ends at %" PRIu64,
                               e->name, e->offset, g->tensors[i - 1].name, end);
        if (e->offset > room || e->tensor.bytes > room - e->offset)
            return dhole__fail(DHOLE_ERR_FORMAT,
                               "truncated: tensor %s takes %zu bytes at offset %" PRIu64
                               " of the data, which has %zu bytes (from byte %zu)",
                               e->name, e->tensor.bytes, e->offset, room, start);
        e->tensor.name = e->name;
        e->tensor.data = g->data + start + e->offset;
        end = e->offset + e->tensor.bytes;
    }
    return DHOLE_OK;
}

dhole_err dhole__gguf_read_tensors(struct dhole__gguf *g, struct dhole__reader *r)
{
    int alignment = alignment_default;
    dhole_err err = DHOLE_OK;

    for (size_t i = 0; i < g->tensor_count && !err; i++)
        err = take_tensor(r, &g->tensors[i]);
    if (err)
        return err;
    g->header_size = r->pos;
    qsort(g->tensors, g->tensor_count, sizeof *g->tensors, compare_names);
    for (size_t i = 1; i < g->tensor_count; i++)
        if (compare_names(&g->tensors[i - 1], &g->tensors[i]) == 0)
            return dhole__fail(DHOLE_ERR_FORMAT, "the tensor %s occurs twice", g->tensors[i].name);
    err =
        dhole__gguf_int(g, "general.alignment", DHOLE__GGUF_OPTIONAL, 8, alignment_max, &alignment);
    if (err)
        return err;
    if (alignment % 8 != 0)
        return dhole__fail(DHOLE_ERR_FORMAT, "general.alignment is %d, not a multiple of 8",
                           alignment);
    return place_tensors(g, alignment);
}
