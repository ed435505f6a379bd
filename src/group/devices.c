#include "group/devices.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/sys.h"
#include "coll/comm.h"

static dhole_err check_name(const char *name, size_t length)
{
    bool plain = length > 0 && length <= dhole__devices_name_max;

    for (size_t i = 0; i < length && plain; i++)
        plain = isgraph((unsigned char)name[i]) && name[i] != ',';
    return plain ? DHOLE_OK
                 : dhole__fail(DHOLE_ERR_CONFIG, "\"%.*s\" is not the name of a device",
                               length < 80 ? (int)length : 80, name);
}

static dhole_err add_name(const json_t *value, struct dhole__buf *list)
{
    const char *name = json_string_value(value);
    dhole_err err = DHOLE_OK;

    if (name == NULL)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "expected null, the name of a device, or a list of names");
    err = check_name(name, json_string_length(value));
    if (!err && list->len > 0)
        err = dhole__buf_add(list, ",", 1);
    return err ? err : dhole__buf_add(list, name, strlen(name));
}

/* An entry's names, joined by commas: a string of its own, or NULL when there are none. */
static dhole_err join_names(const json_t *entry, char **out)
{
    size_t count = json_is_array(entry) ? json_array_size(entry) : 1;
    struct dhole__buf list;
    dhole_err err = DHOLE_OK;

    if (json_is_null(entry) || count == 0)
        return DHOLE_OK;
    if (count > dhole__devices_max)
        return dhole__fail(DHOLE_ERR_CONFIG, "%zu devices: expected at most %d", count,
                           dhole__devices_max);
    dhole__buf_init(&list, dhole__devices_list_max);
    if (!json_is_array(entry))
        err = add_name(entry, &list);
    for (size_t i = 0; json_is_array(entry) && i < count && !err; i++)
        err = add_name(json_array_get(entry, i), &list);
    if (!err)
        err = dhole__buf_add(&list, "", 1);
    if (err) {
        dhole__buf_free(&list);
        return err;
    }
    *out = (char *)list.data;
    return DHOLE_OK;
}

static dhole_err read_row(const json_t *entries, int row, struct dhole__devices *devices)
{
    if (!json_is_array(entries) || json_array_size(entries) != (size_t)devices->size)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "row %d has %zu entries: expected a list of %d, one for each rank", row,
                           json_array_size(entries), devices->size);
    for (int column = 0; column < devices->size; column++) {
        dhole_err err = DHOLE_OK;
        if (column != row)
            err = join_names(json_array_get(entries, (size_t)column),
                             &devices->list[row * devices->size + column]);
        if (err)
            return dhole__fail_in(err, "row %d, column %d", row, column);
    }
    return DHOLE_OK;
}

void dhole__devices_free(struct dhole__devices *devices)
{
    for (int i = 0; devices->list != NULL && i < devices->size * devices->size; i++)
        free(devices->list[i]);
    free(devices->list);
    *devices = (struct dhole__devices){0};
}

const char *const *dhole__devices_row(const struct dhole__devices *devices, int rank)
{
    return (const char *const *)devices->list + rank * devices->size;
}

int dhole__devices_split(const char *list,
                         char name[static dhole__devices_max][dhole__devices_name_max + 1])
{
    int count = 0;

    for (size_t length; count < dhole__devices_max; list += length + 1) {
        length = strcspn(list, ",");
        memcpy(name[count], list, length);
        name[count++][length] = '\0';
        if (list[length] == '\0')
            break;
    }
    return count;
}

/* So that it can be split. */
dhole_err dhole__devices_check_list(const char *list)
{
    const char *at = list;

    for (int count = 1;; count++) {
        size_t length = strcspn(at, ",");
        dhole_err err = check_name(at, length);
        if (err)
            return err;
        if (at[length] == '\0')
            return DHOLE_OK;
        if (count == dhole__devices_max)
            return dhole__fail(DHOLE_ERR_CONFIG, "more than %d devices: \"%s\"", count, list);
        at += length + 1;
    }
}

static bool are_neighbours(int a, int b, int size)
{
    return (a + 1) % size == b || (b + 1) % size == a;
}

/* A ring's cables end at the neighbours; a mesh leaves nobody out. */
static dhole_err check_shape(const dhole_options *options)
{
    int has = -1, lacks = -1;

    for (int peer = 0; peer < options->size; peer++) {
        bool neighbour = are_neighbours(options->rank, peer, options->size);
        if (peer == options->rank || (options->ring && !neighbour))
            continue;
        if (neighbour && options->devices[peer] == NULL)
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "row %d, column %d: no device leads from rank %d to rank %d, which "
                               "are next to each other",
                               options->rank, peer, options->rank, peer);
        if (!neighbour)
            *(options->devices[peer] != NULL ? &has : &lacks) = peer;
    }
    if (has < 0 || lacks < 0)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "row %d, column %d: no device leads from rank %d to rank %d, though one "
                       "does to rank %d: expected devices to all ranks (a mesh), or to ranks %d "
                       "and %d only (a ring, also with JACCL_RING=1)",
                       options->rank, lacks, options->rank, lacks, has,
                       (options->rank + options->size - 1) % options->size,
                       (options->rank + 1) % options->size);
}

dhole_err dhole__devices_check_row(const dhole_options *options)
{
    for (int peer = 0; peer < options->size; peer++) {
        dhole_err err = DHOLE_OK;
        if (peer != options->rank && options->devices[peer] != NULL)
            err = dhole__devices_check_list(options->devices[peer]);
        if (err)
            return dhole__fail_in(err, "row %d, column %d", options->rank, peer);
    }
    return check_shape(options);
}

bool dhole__devices_lead_to(const dhole_options *options, int peer)
{
    return options->devices != NULL && peer != options->rank && options->devices[peer] != NULL &&
           (!options->ring || are_neighbours(options->rank, peer, options->size));
}

static dhole_err add_use(struct dhole__device_use *use, const char *name, int *n)
{
    int i = 0;

    while (i < *n && strcmp(use[i].name, name) != 0)
        i++;
    if (i == dhole__devices_max)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s is one device too many: expected at most %d", name,
                           dhole__devices_max);
    if (i == *n) {
        strcpy(use[i].name, name);
        use[i].peers = 0;
        ++*n;
    }
    use[i].peers++;
    return DHOLE_OK;
}

dhole_err dhole__devices_used(const dhole_options *options,
                              struct dhole__device_use use[static dhole__devices_max], int *n)
{
    dhole_err err = DHOLE_OK;

    *n = 0;
    for (int peer = 0; peer < options->size && !err; peer++) {
        char name[dhole__devices_max][dhole__devices_name_max + 1];
        int names = 0;
        if (dhole__devices_lead_to(options, peer))
            names = dhole__devices_split(options->devices[peer], name);
        for (int i = 0; i < names && !err; i++)
            err = add_use(use, name[i], n);
    }
    return err ? dhole__fail_in(err, "row %d of the device matrix", options->rank) : DHOLE_OK;
}

/* Of ranks that have been checked by row. */
static dhole_err check_both_ways(const dhole_options *options, const struct dhole__devices *devices)
{
    for (int peer = 0; peer < options->size; peer++) {
        const char *there = dhole__devices_row(devices, options->rank)[peer];
        const char *back = dhole__devices_row(devices, peer)[options->rank];
        if (dhole__devices_lead_to(options, peer) && back == NULL)
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "row %d, column %d: no device leads from rank %d to rank %d, but "
                               "the other way round it is %s",
                               peer, options->rank, peer, options->rank, there);
    }
    return DHOLE_OK;
}

static dhole_err check_matrix(const struct dhole__devices *devices, bool ring)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_err err = DHOLE_OK;

    options.size = devices->size;
    options.ring = ring;
    for (options.rank = 0; options.rank < options.size && !err; options.rank++) {
        options.devices = dhole__devices_row(devices, options.rank);
        err = dhole__devices_check_row(&options);
        if (!err)
            err = check_both_ways(&options, devices);
    }
    return err;
}

dhole_err dhole__devices_parse(const json_t *root, const char *what, bool ring,
                               struct dhole__devices *out)
{
    size_t rows = json_array_size(root);
    struct dhole__devices devices = {.size = (int)rows};
    dhole_err err = DHOLE_OK;

    if (rows == 0 || rows > dhole__rank_max)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "%s: expected a matrix of devices, [[null, \"name\"], [\"name\", "
                           "null]], with a row for each of 1 to %d ranks",
                           what, dhole__rank_max);
    devices.list = dhole__sys.calloc(rows * rows, sizeof *devices.list);
    if (devices.list == NULL)
        return dhole__fail_nomem(rows * rows * sizeof *devices.list, "a matrix of devices");
    for (int row = 0; row < devices.size && !err; row++)
        err = read_row(json_array_get(root, (size_t)row), row, &devices);
    if (!err)
        err = check_matrix(&devices, ring);
    if (err) {
        dhole__devices_free(&devices);
        return dhole__fail_in(err, "%s", what);
    }
    *out = devices;
    return DHOLE_OK;
}

dhole_err dhole__devices_read(const char *path, bool ring, struct dhole__devices *out)
{
    json_t *root;
    dhole_err err = dhole__json_load(path, &root);

    if (err)
        return err;
    err = dhole__devices_parse(root, path, ring, out);
    json_decref(root);
    return err;
}
