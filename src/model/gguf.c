#include "model/gguf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sys.h"

enum {
    tensors_max = 1 << 16,
    values_max = 1 << 16,
    key_max = 0xffff, /* the format's own limits */
    dims_max = 4,
    alignment_default = 32,
    alignment_max = 1 << 16
};

struct reader {
    const uint8_t *data;
    size_t size, pos;
};

static dhole_err take(struct reader *r, uint64_t n, const char *what, const uint8_t **out)
{
    if (n > r->size - r->pos)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "truncated: %s at byte %zu takes %" PRIu64
                           " bytes, but the file ends at byte %zu",
                           what, r->pos, n, r->size);
    *out = r->data + r->pos;
    r->pos += (size_t)n;
    return DHOLE_OK;
}

static dhole_err take_number(struct reader *r, size_t bytes, const char *what, uint64_t *out)
{
    const uint8_t *p = NULL;
    dhole_err err = take(r, bytes, what, &p);

    if (!err)
        *out = dhole__gguf_load(p, bytes);
    return err;
}

static dhole_err take_string(struct reader *r, const char *what, struct dhole__gguf_string *out)
{
    const uint8_t *p = NULL;
    uint64_t length = 0;
    dhole_err err = take_number(r, 8, what, &length);

    if (!err)
        err = take(r, length, what, &p);
    if (!err)
        *out = (struct dhole__gguf_string){(const char *)p, (size_t)length};
    return err;
}

/* A key or a tensor's name: short and printable, as it ends up in messages. */
static dhole_err take_name(struct reader *r, size_t max, const char *what,
                           struct dhole__gguf_string *out)
{
    size_t at = r->pos;
    dhole_err err = take_string(r, what, out);

    if (err)
        return err;
    if (out->length == 0 || out->length > max)
        return dhole__fail(DHOLE_ERR_FORMAT, "%s at byte %zu has %zu bytes, 1 to %zu are allowed",
                           what, at, out->length, max);
    for (size_t i = 0; i < out->length; i++)
        if (out->data[i] < ' ' || out->data[i] > '~')
            return dhole__fail(DHOLE_ERR_FORMAT,
                               "%s at byte %zu holds the byte 0x%02x, which is not printable", what,
                               at, (unsigned char)out->data[i]);
    return DHOLE_OK;
}

/* Takes an enum dhole__gguf_type. */
static dhole_err take_type(struct reader *r, const char *what, enum dhole__gguf_type *out)
{
    size_t at = r->pos;
    uint64_t type = 0;
    dhole_err err = take_number(r, 4, what, &type);

    if (err)
        return err;
    if (type > DHOLE__GGUF_F64)
        return dhole__fail(DHOLE_ERR_FORMAT, "%s at byte %zu is %" PRIu64 ", unknown to GGUF", what,
                           at, type);
    *out = (enum dhole__gguf_type)type;
    return DHOLE_OK;
}

static dhole_err take_array(struct reader *r, struct dhole__gguf_value *v)
{
    size_t at = r->pos;
    struct dhole__gguf_string unused;
    uint64_t count = 0;
    size_t smallest;
    dhole_err err;

    err = take_type(r, "an array's element type", &v->type);
    if (!err)
        err = take_number(r, 8, "an array's length", &count);
    if (err)
        return err;
    if (v->type == DHOLE__GGUF_ARRAY)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "the array at byte %zu holds arrays, which we do not read", at);
    smallest = v->type == DHOLE__GGUF_STRING ? 8 : dhole__gguf_type_bytes(v->type);
    if (count > (r->size - r->pos) / smallest)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "truncated: the array at byte %zu has %" PRIu64
                           " elements of type %s, more than the file has room for",
                           at, count, dhole__gguf_type_name(v->type));
    v->is_array = true;
    v->count = (size_t)count;
    v->data = r->data + r->pos;
    if (v->type != DHOLE__GGUF_STRING)
        r->pos += v->count * smallest;
    for (size_t i = 0; v->type == DHOLE__GGUF_STRING && i < v->count && !err; i++)
        err = take_string(r, "a string in an array", &unused);
    return err;
}

static dhole_err take_value(struct reader *r, struct dhole__gguf_value *v)
{
    struct dhole__gguf_string unused;
    dhole_err err = take_name(r, key_max, "a metadata key", &v->key);

    if (!err)
        err = take_type(r, "a metadata type", &v->type);
    if (err)
        return err;
    if (v->type == DHOLE__GGUF_ARRAY)
        return take_array(r, v);
    v->data = r->data + r->pos;
    if (v->type == DHOLE__GGUF_STRING)
        return take_string(r, "a metadata string", &unused);
    return take(r, dhole__gguf_type_bytes(v->type), "a metadata value", &v->data);
}

static int compare_values(const void *a, const void *b)
{
    return dhole__gguf_compare(((const struct dhole__gguf_value *)a)->key,
                               ((const struct dhole__gguf_value *)b)->key);
}

static dhole_err read_values(struct dhole__gguf *g, struct reader *r)
{
    dhole_err err = DHOLE_OK;

    for (size_t i = 0; i < g->value_count && !err; i++)
        err = take_value(r, &g->values[i]);
    if (err)
        return err;
    qsort(g->values, g->value_count, sizeof *g->values, compare_values);
    for (size_t i = 1; i < g->value_count; i++)
        if (compare_values(&g->values[i - 1], &g->values[i]) == 0)
            return dhole__fail(DHOLE_ERR_FORMAT, "the metadata key %.*s occurs twice",
                               (int)g->values[i].key.length, g->values[i].key.data);
    return DHOLE_OK;
}

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

static dhole_err take_shape(struct reader *r, const char *name, struct dhole__tensor *t,
                            uint64_t *elements)
{
    uint64_t dims = 0;
    dhole_err err = take_number(r, 4, "a tensor's number of dimensions", &dims);

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
            err = take_number(r, 8, "a tensor's dimension", &t->shape[i]);
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
static dhole_err take_size(struct reader *r, const char *name, struct dhole__tensor *t,
                           uint64_t elements)
{
    uint64_t type = 0, block, bytes;
    dhole_err err = take_number(r, 4, "a tensor's type", &type);

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

static dhole_err take_tensor(struct reader *r, struct dhole__gguf_entry *e)
{
    struct dhole__gguf_string name;
    uint64_t elements = 0;
    dhole_err err = take_name(r, dhole__gguf_name_max, "a tensor's name", &name);

    if (err)
        return err;
    memcpy(e->name, name.data, name.length);
    err = take_shape(r, e->name, &e->tensor, &elements);
    if (!err)
        err = take_size(r, e->name, &e->tensor, elements);
    if (!err)
        err = take_number(r, 8, "a tensor's offset", &e->offset);
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

static dhole_err read_tensors(struct dhole__gguf *g, struct reader *r)
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

static dhole_err take_version(struct reader *r)
{
    const uint8_t *magic = NULL;
    uint64_t version = 0;
    dhole_err err = take(r, 4, "the magic number", &magic);

    if (err)
        return err;
    if (memcmp(magic, "GGUF", 4) != 0)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "not a GGUF file: it starts with the bytes %02x %02x %02x %02x",
                           magic[0], magic[1], magic[2], magic[3]);
    err = take_number(r, 4, "the version", &version);
    if (err)
        return err;
    if ((version & 0xffff) == 0)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "a big-endian GGUF file; convert it to little-endian order");
    if (version != 2 && version != 3)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "GGUF version %" PRIu64 "; versions 2 and 3 are supported", version);
    return DHOLE_OK;
}

/* Takes a number of things that take up at least `smallest` bytes each. */
static dhole_err take_count(struct reader *r, const char *what, size_t max, size_t smallest,
                            size_t *out)
{
    uint64_t count = 0;
    dhole_err err = take_number(r, 8, what, &count);

    if (err)
        return err;
    if (count > max)
        return dhole__fail(DHOLE_ERR_FORMAT, "%s is %" PRIu64 ", at most %zu are allowed", what,
                           count, max);
    if (count > (r->size - r->pos) / smallest)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "truncated: %s is %" PRIu64 ", more than a file of %zu bytes can hold",
                           what, count, r->size);
    *out = (size_t)count;
    return DHOLE_OK;
}

static dhole_err parse(struct dhole__gguf *g)
{
    struct reader r = {.data = g->data, .size = g->size};
    dhole_err err = take_version(&r);

    if (!err)
        err = take_count(&r, "the number of tensors", tensors_max, 8 + 1 + 4 + 8 + 4 + 8,
                         &g->tensor_count);
    if (!err)
        err = take_count(&r, "the number of metadata values", values_max, 8 + 1 + 4 + 1,
                         &g->value_count);
    if (err)
        return err;
    /* One more, as an empty list is no failure and NULL is. */
    g->values = dhole__sys.calloc(g->value_count + 1, sizeof *g->values);
    g->tensors = dhole__sys.calloc(g->tensor_count + 1, sizeof *g->tensors);
    if (g->values == NULL || g->tensors == NULL)
        return dhole__fail_nomem(g->value_count * sizeof *g->values +
                                     g->tensor_count * sizeof *g->tensors,
                                 "a model file's header");
    err = read_values(g, &r);
    return err ? err : read_tensors(g, &r);
}

dhole_err dhole__gguf_open_memory(const void *data, size_t size, struct dhole__gguf **out)
{
    struct dhole__gguf *g = dhole__sys.calloc(1, sizeof *g);
    dhole_err err;

    if (g == NULL)
        return dhole__fail_nomem(sizeof *g, "a model file");
    g->data = data;
    g->size = size;
    err = parse(g);
    if (err)
        dhole__gguf_close(g);
    else
        *out = g;
    return err;
}

/* O_NONBLOCK, as opening a FIFO would wait for a writer. */
static dhole_err map_file(const char *path, void **map, size_t *size)
{
    int fd = dhole__sys.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    dhole_err err = DHOLE_OK;
    struct stat st;

    if (fd < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot open the file");
    if (dhole__sys.fstat(fd, &st) != 0)
        err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot read the file's size");
    else if (S_ISDIR(st.st_mode))
        err = dhole__fail(DHOLE_ERR_FORMAT, "a directory; name the model file in it");
    else if (!S_ISREG(st.st_mode))
        err = dhole__fail(DHOLE_ERR_FORMAT, "not a regular file");
    else if (st.st_size == 0)
        err = dhole__fail(DHOLE_ERR_FORMAT, "the file is empty");
    else if ((uintmax_t)st.st_size > SIZE_MAX)
        err = dhole__fail(DHOLE_ERR_LIMIT, "the file is too large for this machine's addresses");
    if (!err) {
        *size = (size_t)st.st_size;
        *map = dhole__sys.mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
        if (*map == MAP_FAILED)
            err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot map %zu bytes", *size);
    }
    close(fd);
    return err;
}

dhole_err dhole__gguf_open(const char *path, struct dhole__gguf **out)
{
    void *map = NULL;
    size_t size = 0;
    dhole_err err = map_file(path, &map, &size);

    if (err)
        return err;
    err = dhole__gguf_open_memory(map, size, out);
    if (err)
        munmap(map, size);
    else
        (*out)->map = map;
    return err;
}

void dhole__gguf_close(struct dhole__gguf *g)
{
    if (g == NULL)
        return;
    if (g->map != NULL)
        munmap(g->map, g->size);
    free(g->tensors);
    free(g->values);
    free(g);
}

void dhole__gguf_header(const struct dhole__gguf *g, const void **data, size_t *size)
{
    *data = g->data;
    *size = g->header_size;
}

size_t dhole__gguf_file_size(const struct dhole__gguf *g)
{
    return g->size;
}

size_t dhole__gguf_tensor_count(const struct dhole__gguf *g)
{
    return g->tensor_count;
}

const struct dhole__tensor *dhole__gguf_tensor(const struct dhole__gguf *g, size_t i)
{
    return &g->tensors[i].tensor;
}
