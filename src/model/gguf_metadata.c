#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_file.h"

int dhole__gguf_compare(struct dhole__gguf_string a, struct dhole__gguf_string b)
{
    int order = memcmp(a.data, b.data, a.length < b.length ? a.length : b.length);

    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static int compare_key(const void *key, const void *value)
{
    return dhole__gguf_compare(*(const struct dhole__gguf_string *)key,
                               ((const struct dhole__gguf_value *)value)->key);
}

static const struct dhole__gguf_value *find(const struct dhole__gguf *g, const char *key)
{
    struct dhole__gguf_string wanted = {key, strlen(key)};

    return bsearch(&wanted, g->values, g->value_count, sizeof *g->values, compare_key);
}

bool dhole__gguf_has(const struct dhole__gguf *g, const char *key)
{
    return find(g, key) != NULL;
}

/* *out is NULL when an optional key is missing. */
static dhole_err look_up(const struct dhole__gguf *g, const char *key, enum dhole__gguf_need need,
                         const struct dhole__gguf_value **out)
{
    *out = find(g, key);
    if (*out == NULL && need == DHOLE__GGUF_REQUIRED)
        return dhole__fail(DHOLE_ERR_FORMAT, "the metadata key %s is missing", key);
    return DHOLE_OK;
}

static dhole_err wrong_type(const struct dhole__gguf *g, const char *key,
                            const struct dhole__gguf_value *v, const char *wanted)
{
    return dhole__fail(DHOLE_ERR_FORMAT,
                       "the metadata key %s has a value of type %s%s at byte %td, expected %s", key,
                       v->is_array ? "array of " : "", dhole__gguf_type_name(v->type),
                       v->data - g->data, wanted);
}

/* False when the value is not an integer. A uint64 beyond int64 becomes the largest one. */
static bool as_integer(const struct dhole__gguf_value *v, int64_t *out)
{
    uint64_t raw = dhole__gguf_load(v->data, v->is_array ? 0 : dhole__gguf_type_bytes(v->type));

    if (v->is_array)
        return false;
    switch (v->type) {
    case DHOLE__GGUF_U8:
    case DHOLE__GGUF_U16:
    case DHOLE__GGUF_U32: *out = (int64_t)raw; return true;
    case DHOLE__GGUF_U64: *out = raw > INT64_MAX ? INT64_MAX : (int64_t)raw; return true;
    case DHOLE__GGUF_I8: *out = (int8_t)raw; return true;
    case DHOLE__GGUF_I16: *out = (int16_t)raw; return true;
    case DHOLE__GGUF_I32: *out = (int32_t)raw; return true;
    case DHOLE__GGUF_I64: *out = (int64_t)raw; return true;
    default: return false;
    }
}

dhole_err dhole__gguf_int(const struct dhole__gguf *g, const char *key, enum dhole__gguf_need need,
                          int min, int max, int *out)
{
    const struct dhole__gguf_value *v;
    dhole_err err = look_up(g, key, need, &v);
    int64_t x;

    if (err || v == NULL)
        return err;
    if (!as_integer(v, &x))
        return wrong_type(g, key, v, "an integer");
    if (x < min || x > max)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "the metadata key %s is %" PRId64 " at byte %td, %d to %d are allowed",
                           key, x, v->data - g->data, min, max);
    *out = (int)x;
    return DHOLE_OK;
}

dhole_err dhole__gguf_float(const struct dhole__gguf *g, const char *key,
                            enum dhole__gguf_need need, float *out)
{
    const struct dhole__gguf_value *v;
    dhole_err err = look_up(g, key, need, &v);
    uint64_t raw;
    uint32_t raw32;
    float f;
    double d;

    if (err || v == NULL)
        return err;
    if (v->is_array || (v->type != DHOLE__GGUF_F32 && v->type != DHOLE__GGUF_F64))
        return wrong_type(g, key, v, "a float");
    raw = dhole__gguf_load(v->data, dhole__gguf_type_bytes(v->type));
    raw32 = (uint32_t)raw;
    memcpy(&f, &raw32, sizeof f);
    memcpy(&d, &raw, sizeof d);
    if (v->type == DHOLE__GGUF_F64)
        f = (float)d;
    if (!isfinite(f))
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "the metadata key %s is not a finite number at byte %td", key,
                           v->data - g->data);
    *out = f;
    return DHOLE_OK;
}

dhole_err dhole__gguf_bool(const struct dhole__gguf *g, const char *key, enum dhole__gguf_need need,
                           bool *out)
{
    const struct dhole__gguf_value *v;
    dhole_err err = look_up(g, key, need, &v);

    if (err || v == NULL)
        return err;
    if (v->is_array || v->type != DHOLE__GGUF_BOOL)
        return wrong_type(g, key, v, "a bool");
    if (v->data[0] > 1)
        return dhole__fail(DHOLE_ERR_FORMAT, "the metadata key %s is %d at byte %td, not 0 or 1",
                           key, v->data[0], v->data - g->data);
    *out = v->data[0];
    return DHOLE_OK;
}

dhole_err dhole__gguf_text(const struct dhole__gguf *g, const char *key, enum dhole__gguf_need need,
                           struct dhole__gguf_string *out)
{
    const struct dhole__gguf_value *v;
    dhole_err err = look_up(g, key, need, &v);

    if (err || v == NULL)
        return err;
    if (v->is_array || v->type != DHOLE__GGUF_STRING)
        return wrong_type(g, key, v, "a string");
    *out = (struct dhole__gguf_string){(const char *)v->data + 8,
                                       (size_t)dhole__gguf_load(v->data, 8)};
    return DHOLE_OK;
}

dhole_err dhole__gguf_elements(const struct dhole__gguf *g, const char *key,
                               enum dhole__gguf_need need, enum dhole__gguf_type type,
                               struct dhole__gguf_array *out)
{
    const struct dhole__gguf_value *v;
    dhole_err err = look_up(g, key, need, &v);

    if (err || v == NULL)
        return err;
    if (!v->is_array || v->type != type) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "array of %s", dhole__gguf_type_name(type));
        return wrong_type(g, key, v, wanted);
    }
    *out = (struct dhole__gguf_array){v->count, v->data};
    return DHOLE_OK;
}

struct dhole__gguf_string dhole__gguf_next_string(struct dhole__gguf_array *array)
{
    struct dhole__gguf_string s = {(const char *)array->data + 8,
                                   (size_t)dhole__gguf_load(array->data, 8)};

    array->data += 8 + s.length;
    array->count--;
    return s;
}

bool dhole__gguf_string_is(struct dhole__gguf_string string, const char *text)
{
    return string.length == strlen(text) && memcmp(string.data, text, string.length) == 0;
}

const char *dhole__gguf_shown(struct dhole__gguf_string s, char buf[static dhole__gguf_shown_size])
{
    size_t n = s.length < dhole__gguf_shown_size ? s.length : dhole__gguf_shown_size - 1;

    for (size_t i = 0; i < n; i++)
        buf[i] = s.data[i] >= ' ' && s.data[i] <= '~' ? s.data[i] : '?';
    buf[n] = '\0';
    return buf;
}
