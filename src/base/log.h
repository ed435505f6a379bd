/* Log lines on stderr, chosen by DHOLE_LOG=error|warn|info|debug (default
 * warn, or info with MLX_RING_VERBOSE=1). Never pass a key, a prompt or a generated text. */
#ifndef DHOLE_BASE_LOG_H
#define DHOLE_BASE_LOG_H

#include "base/error.h"

enum dhole__log_level { DHOLE__LOG_ERROR, DHOLE__LOG_WARN, DHOLE__LOG_INFO, DHOLE__LOG_DEBUG };

void dhole__log(enum dhole__log_level level, const char *format, ...) DHOLE__PRINTF(2, 3);

#endif
