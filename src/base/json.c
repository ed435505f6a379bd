#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/sys.h"

enum { file_max = 16 << 20 };

dhole_err dhole__json_parse(const char *text, size_t length, const char *what, json_t **out)
{
    json_error_t error;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);

    if (root == NULL)
        return dhole__fail(DHOLE_ERR_CONFIG, "%s: line %d: %s", what, error.line, error.text);
    *out = root;
    return DHOLE_OK;
}

dhole_err dhole__json_load(const char *path, json_t **out)
{
    enum { step = 4096 };
    struct dhole__buf text;
    dhole_err err = DHOLE_OK;
    ssize_t n = 1;
    int fd = dhole__sys.open(path, O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0)
        return dhole__fail_errno(DHOLE_ERR_CONFIG, "cannot open %s", path);
    dhole__buf_init(&text, file_max);
    while (n > 0) {
        err = dhole__buf_add(&text, NULL, step);
        if (err)
            break;
        text.len -= step;
        do
            n = read(fd, text.data + text.len, step);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            err = dhole__fail_errno(DHOLE_ERR_CONFIG, "cannot read %s", path);
        else
            text.len += (size_t)n;
    }
    if (err == DHOLE_ERR_LIMIT)
        err = dhole__fail(err, "%s is longer than %d bytes", path, file_max);
    if (err == DHOLE_OK)
        err = dhole__json_parse((const char *)text.data, text.len, path, out);
    dhole__buf_free(&text);
    close(fd);
    return err;
}

dhole_err dhole__json_string(const json_t *object, const char *key, const char **out)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_string(value))
        return dhole__fail(DHOLE_ERR_CONFIG, "\"%s\" must be a string", key);
    *out = json_string_value(value);
    return DHOLE_OK;
}

dhole_err dhole__json_int(const json_t *object, const char *key, long long min, long long max,
                          long long *out)
{
    const json_t *value = json_object_get(object, key);
    long long n = json_integer_value(value);

    if (!json_is_integer(value) || n < min || n > max)
        return dhole__fail(DHOLE_ERR_CONFIG, "\"%s\" must be a whole number from %lld to %lld", key,
                           min, max);
    *out = n;
    return DHOLE_OK;
}
