/* Strict UTF-8 (RFC 3629): no surrogates, no overlong forms. */
#ifndef DHOLE_MODEL_UTF8_H
#define DHOLE_MODEL_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the sequence at p, of at most n, and its code point; 0 when it is not valid. */
size_t dhole__utf8_decode(const uint8_t *p, size_t n, uint32_t *code);

#endif
