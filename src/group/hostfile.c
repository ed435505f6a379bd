#include "group/hostfile.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/sys.h"
#include "coll/comm.h"

enum { addresses_max = 4096 }; /* bytes of one rank's */

static dhole_err add_address(const json_t *value, size_t entry, struct dhole__buf *out)
{
    const char *address = json_string_value(value);

    if (address == NULL || *address == '\0' || strchr(address, ',') != NULL)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "entry %zu: expected \"host:port\", \"[ipv6]:port\", or a list of them",
                           entry);
    if (out->len > 0) {
        dhole_err err = dhole__buf_add(out, ",", 1);
        if (err)
            return err;
    }
    return dhole__buf_add(out, address, strlen(address));
}

/* An entry's addresses, joined by commas: a string of its own. */
static dhole_err join_addresses(const json_t *entry, size_t index, int *count, char **out)
{
    struct dhole__buf text;
    dhole_err err = DHOLE_OK;

    dhole__buf_init(&text, addresses_max);
    *count = json_is_array(entry) ? (int)json_array_size(entry) : 1;
    if (!json_is_array(entry))
        err = add_address(entry, index, &text);
    for (int i = 0; json_is_array(entry) && i < *count && !err; i++)
        err = add_address(json_array_get(entry, (size_t)i), index, &text);
    if (!err && *count == 0)
        err = dhole__fail(DHOLE_ERR_CONFIG, "entry %zu has no address", index);
    if (!err)
        err = dhole__buf_add(&text, "", 1);
    if (err) {
        dhole__buf_free(&text);
        return err;
    }
    *out = (char *)text.data;
    return DHOLE_OK;
}

static dhole_err read_entries(const json_t *root, struct dhole__hostfile *file)
{
    for (int i = 0; i < file->size; i++) {
        int count;
        dhole_err err =
            join_addresses(json_array_get(root, (size_t)i), (size_t)i, &count, &file->hosts[i]);
        if (err)
            return err;
        if (i > 0 && count != file->rails)
            return dhole__fail(DHOLE_ERR_CONFIG,
                               "entry 0 lists %d addresses and entry %d lists %d (%s): expected "
                               "the same number for every rank",
                               file->rails, i, count, file->hosts[i]);
        file->rails = count;
    }
    return DHOLE_OK;
}

dhole_err dhole__hostfile_parse(const json_t *root, const char *what, struct dhole__hostfile *out)
{
    struct dhole__hostfile file = {.size = (int)json_array_size(root)};
    dhole_err err;

    if (json_is_object(root) || json_is_object(json_array_get(root, 0)))
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "%s describes hosts, as for mlx.launch: expected a list of the ranks' "
                           "addresses, [[\"ip:port\", ...], ...]; `dhole launch --hostfile` makes "
                           "one of the other",
                           what);
    if (file.size == 0 || file.size > dhole__rank_max)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "%s: expected a list with an entry for each of 1 to %d ranks", what,
                           dhole__rank_max);
    file.hosts = dhole__sys.calloc((size_t)file.size, sizeof *file.hosts);
    if (file.hosts == NULL)
        return dhole__fail_nomem((size_t)file.size * sizeof *file.hosts, "a list of hosts");
    err = read_entries(root, &file);
    if (err) {
        dhole__hostfile_free(&file);
        return dhole__fail_in(err, "%s", what);
    }
    *out = file;
    return DHOLE_OK;
}

dhole_err dhole__hostfile_read(const char *path, struct dhole__hostfile *out)
{
    json_t *root;
    dhole_err err = dhole__json_load(path, &root);

    if (err)
        return err;
    err = dhole__hostfile_parse(root, path, out);
    json_decref(root);
    return err;
}

void dhole__hostfile_free(struct dhole__hostfile *file)
{
    for (int i = 0; file->hosts != NULL && i < file->size; i++)
        free(file->hosts[i]);
    free(file->hosts);
    *file = (struct dhole__hostfile){0};
}
