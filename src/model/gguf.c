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
    key_max = 0xffff /* the format's own limit */
};

static dhole_err take_array(struct dhole__reader *r, struct dhole__gguf_value *v)
{
    size_t at = r->pos;
    struct dhole__gguf_string unused;
    uint64_t count = 0;
    size_t smallest;
    dhole_err err;

    err = dhole__take_type(r, "an array's element type", &v->type);
    if (!err)
        err = dhole__take_number(r, 8, "an array's length", &count);
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
        err = dhole__take_string(r, "a string in an array", &unused);
    return err;
}

static dhole_err take_value(struct dhole__reader *r, struct dhole__gguf_value *v)
{
    struct dhole__gguf_string unused;
    dhole_err err = dhole__take_name(r, key_max, "a metadata key", &v->key);

    if (!err)
        err = dhole__take_type(r, "a metadata type", &v->type);
    if (err)
        return err;
    if (v->type == DHOLE__GGUF_ARRAY)
        return take_array(r, v);
    v->data = r->data + r->pos;
    if (v->type == DHOLE__GGUF_STRING)
        return dhole__take_string(r, "a metadata string", &unused);
    return dhole__take(r, dhole__gguf_type_bytes(v->type), "a metadata value", &v->data);
}

static int compare_values(const void *a, const void *b)
{
    return dhole__gguf_compare(((const struct dhole__gguf_value *)a)->key,
                               ((const struct dhole__gguf_value *)b)->key);
}

static dhole_err read_values(struct dhole__gguf *g, struct dhole__reader *r)
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

static dhole_err take_version(struct dhole__reader *r)
{
    const uint8_t *magic = NULL;
    uint64_t version = 0;
    dhole_err err = dhole__take(r, 4, "the magic number", &magic);

    if (err)
        return err;
    if (memcmp(magic, "GGUF", 4) != 0)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "not a GGUF file: it starts with the bytes %02x %02x %02x %02x",
                           magic[0], magic[1], magic[2], magic[3]);
    err = dhole__take_number(r, 4, "the version", &version);
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

static dhole_err parse(struct dhole__gguf *g)
{
    struct dhole__reader r = {.data = g->data, .size = g->size};
    dhole_err err = take_version(&r);

    if (!err)
        err = dhole__take_count(&r, "the number of tensors", tensors_max, 8 + 1 + 4 + 8 + 4 + 8,
                                &g->tensor_count);
    if (!err)
        err = dhole__take_count(&r, "the number of metadata values", values_max, 8 + 1 + 4 + 1,
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
    return err ? err : dhole__gguf_read_tensors(g, &r);
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
