/* JSON over jansson, with errors that name the file, the line and the key. */
#ifndef DHOLE_BASE_JSON_H
#define DHOLE_BASE_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/* Parses `length` bytes; `what` names them in errors. The caller owns *out. */
DHOLE__MUST_CHECK dhole_err dhole__json_parse(const char *text, size_t length, const char *what,
                                              json_t **out);

/* Reads a file of at most 16 MiB; the caller owns *out. */
DHOLE__MUST_CHECK dhole_err dhole__json_load(const char *path, json_t **out);

/* Required members of an object; DHOLE_ERR_CONFIG names a missing or mistyped
 * key. The string belongs to the object. */
DHOLE__MUST_CHECK dhole_err dhole__json_string(const json_t *object, const char *key,
                                               const char **out);
DHOLE__MUST_CHECK dhole_err dhole__json_int(const json_t *object, const char *key, long long min,
                                            long long max, long long *out);

#endif
