#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/change.h"
#include "cluster/trust.h"
#include "seal/identity.h"

enum { mode_when_made = 0600, denied_to_others = 022 };

static dhole_err find_path(const char *path, char out[static dhole__path_max])
{
    if (path == NULL)
        path = getenv("DHOLE_TRUST");
    if (path == NULL || *path == '\0')
        return dhole__identity_beside("trusted", out);
    if (strlen(path) >= dhole__path_max)
        return dhole__fail(DHOLE_ERR_CONFIG, "the path \"%.60s...\" is too long", path);
    strcpy(out, path);
    return DHOLE_OK;
}

static dhole_err read_text(const char *path, struct dhole__buf *text)
{
    bool there;

    dhole__buf_init(text, dhole__trust_file_max);
    return dhole__file_read(path, denied_to_others, text, &there);
}

dhole_err dhole_trust_load(const char *path, dhole_trust **out)
{
    char found[dhole__path_max];
    struct dhole__buf text;
    dhole_err err = find_path(path, found);

    if (err)
        return err;
    err = read_text(found, &text);
    if (!err)
        err = dhole__trust_parse((const char *)text.data, text.len, found, out);
    dhole__buf_free(&text);
    return err;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_mode & 0777 : mode_when_made;
}

/* Adds `machine`, or with NULL removes `name`. */
static dhole_err edit(const char *path, const dhole_trusted *machine, const char *name)
{
    struct dhole__change change;
    struct dhole__buf text;
    dhole_err err = dhole__change_begin(path, &change);

    if (err)
        return err;
    err = read_text(path, &text);
    if (!err)
        err = machine != NULL ? dhole__trust_text_add(&text, path, machine)
                              : dhole__trust_text_remove(&text, path, name);
    if (err)
        dhole__change_drop(&change);
    else
        err = dhole__change_commit(&change, mode_of(path), text.data, text.len);
    dhole__buf_free(&text);
    return err;
}

dhole_err dhole_trust_add(const char *path, const dhole_trusted *machine)
{
    char found[dhole__path_max];
    dhole_err err = find_path(path, found);

    return err ? err : edit(found, machine, NULL);
}

dhole_err dhole_trust_remove(const char *path, const char *name)
{
    char found[dhole__path_max];
    dhole_err err = find_path(path, found);

    return err ? err : edit(found, NULL, name);
}
