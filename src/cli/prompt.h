/* The prompt of the command line. */
#ifndef DHOLE_CLI_PROMPT_H
#define DHOLE_CLI_PROMPT_H

#include "base/buf.h"

/* The text itself, or all of stdin (at most 16 MiB, without zero bytes) when it is "-"; with a NUL
 * after it. The caller frees *out with dhole__buf_free. */
DHOLE__MUST_CHECK dhole_err dhole__prompt_read(const char *argument, struct dhole__buf *out);

#endif
