#include "group/keys.h"

#include <string.h>

#include "group/env.h"
#include "seal/identity.h"

enum { pins_file_max = 64 << 10, writable_by_others = 022 };

dhole_err dhole__sealing_parse(const char *text, enum dhole__sealing *out)
{
    static const char *const names[] = {
        [DHOLE__SEAL_AUTO] = "auto", [DHOLE__SEAL_ON] = "on", [DHOLE__SEAL_OFF] = "off"};

    if (text == NULL || *text == '\0')
        text = names[DHOLE__SEAL_AUTO];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum dhole__sealing)i;
            return DHOLE_OK;
        }
    return dhole__fail(DHOLE_ERR_CONFIG, "DHOLE_SEAL is \"%.40s\": expected auto, on or off", text);
}

/* A line with a fingerprint, which is the next rank's, or with none. */
static dhole_err take_line(char *line, int size, int *count, dhole_pin *pins)
{
    static const char blank[] = " \t\r";
    size_t length;

    line[strcspn(line, "#")] = '\0';
    line += strspn(line, blank);
    length = strlen(line);
    while (length > 0 && strchr(blank, line[length - 1]) != NULL)
        line[--length] = '\0';
    if (length == 0)
        return DHOLE_OK;
    if (*count == size)
        return dhole__fail(DHOLE_ERR_CONFIG, "one fingerprint too many: there are %d ranks", size);
    if (dhole_fingerprint_parse(line, &pins[*count]) != DHOLE_OK)
        return DHOLE_ERR_CONFIG;
    ++*count;
    return DHOLE_OK;
}

/* `text` ends with a NUL of its own. */
static dhole_err parse_pins(char *text, size_t length, int size, dhole_pin *pins)
{
    int count = 0;
    dhole_err err = DHOLE_OK;

    for (int number = 1; length > 0 && !err; number++) {
        char *end = memchr(text, '\n', length);
        size_t line = end != NULL ? (size_t)(end - text) : length;
        text[line] = '\0';
        err = strlen(text) < line ? dhole__fail(DHOLE_ERR_CONFIG, "a NUL byte is no text")
                                  : take_line(text, size, &count, pins);
        if (err)
            return dhole__fail_in(err, "line %d", number);
        line += end != NULL;
        text += line;
        length -= line;
    }
    if (count == size)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_CONFIG, "%d fingerprints: expected one for each of %d ranks",
                       count, size);
}

static dhole_err read_pins(const char *path, int size, dhole_pin *pins)
{
    struct dhole__buf text;
    bool there;
    dhole_err err;

    dhole__buf_init(&text, pins_file_max + 1);
    err = dhole__file_read(path, writable_by_others, &text, &there);
    if (!err && !there)
        err = dhole__fail(DHOLE_ERR_CONFIG, "there is no such file");
    if (!err)
        err = dhole__buf_add(&text, "", 1);
    if (!err)
        err = parse_pins((char *)text.data, text.len - 1, size, pins);
    dhole__buf_free(&text);
    return err;
}

/* Unlike a machine's own key, one that a group is to have is not made here: nobody would know
 * it. */
static dhole_err read_identity(dhole_identity **out)
{
    const char *named = dhole__env_value("DHOLE_IDENTITY");
    bool there;
    dhole_err err = dhole__identity_find(named, &there, out);

    if (err)
        return dhole__fail_in(err, "%s", named != NULL ? "DHOLE_IDENTITY" : "this machine's key");
    if (there)
        return DHOLE_OK;
    if (named != NULL)
        return dhole__fail(DHOLE_ERR_CONFIG, "DHOLE_IDENTITY: there is no file %.200s", named);
    return dhole__fail(DHOLE_ERR_CONFIG, "DHOLE_PINS is set, but DHOLE_IDENTITY is not, and this "
                                         "machine has no key yet: dhole id makes one");
}

static dhole_err check_own_pin(const struct dhole__keys *keys, int rank)
{
    char pinned[DHOLE_FINGERPRINT_SIZE], own[DHOLE_FINGERPRINT_SIZE];
    dhole_pin pin;

    dhole_identity_pin(keys->identity, &pin);
    if (memcmp(&pin, &keys->pins[rank], sizeof pin) == 0)
        return DHOLE_OK;
    dhole_fingerprint(&keys->pins[rank], pinned);
    dhole_fingerprint(&pin, own);
    return dhole__fail(DHOLE_ERR_CONFIG,
                       "DHOLE_PINS has %s for rank %d, whose key (DHOLE_IDENTITY) is %s", pinned,
                       rank, own);
}

dhole_err dhole__keys_read(int rank, int size, struct dhole__keys *out)
{
    const char *path = dhole__env_value("DHOLE_PINS");
    dhole_err err;

    out->identity = NULL;
    if (path == NULL)
        return DHOLE_OK;
    err = read_pins(path, size, out->pins);
    if (err)
        return dhole__fail_in(err, "DHOLE_PINS: %.200s", path);
    err = read_identity(&out->identity);
    if (!err)
        err = check_own_pin(out, rank);
    if (err)
        dhole__keys_free(out);
    return err;
}

void dhole__keys_free(struct dhole__keys *keys)
{
    dhole_identity_free(keys->identity);
    keys->identity = NULL;
}
