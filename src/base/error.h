/* How the rooms report errors: set this thread's message, return the code. */
#ifndef DHOLE_BASE_ERROR_H
#define DHOLE_BASE_ERROR_H

#include <stddef.h>

#include "dhole/error.h"

#define DHOLE__PRINTF(text, first) __attribute__((format(printf, text, first)))
#define DHOLE__MUST_CHECK          __attribute__((warn_unused_result))

/* Sets this thread's message and returns err, so that a failing function can
 * say `return dhole__fail(DHOLE_ERR_INVALID, "...")`. */
dhole_err dhole__fail(dhole_err err, const char *format, ...) DHOLE__PRINTF(2, 3);

/* The same, with ": <text of errno>" at the end. */
dhole_err dhole__fail_errno(dhole_err err, const char *format, ...) DHOLE__PRINTF(2, 3);

/* Out of memory while getting `bytes` for `what`. */
dhole_err dhole__fail_nomem(size_t bytes, const char *what);

/* Puts ? in place of what is no printable UTF-8. What peers say ends in messages, logs and notes to
 * others: a terminal would obey its control characters, and JSON takes no half of a character. */
void dhole__disarm(char *text);

/* Keeps this thread's message over something that may overwrite it, such as closing. */
enum { dhole__message_max = 1024 };
void dhole__message_save(char text[static dhole__message_max]);
void dhole__message_restore(const char text[static dhole__message_max]);

/* Puts "<text>: " in front of this thread's message, and returns err. */
dhole_err dhole__fail_in(dhole_err err, const char *format, ...) DHOLE__PRINTF(2, 3);

#endif
