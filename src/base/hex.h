/* Bytes as hexadecimal digits, two each, in lower case. */
#ifndef DHOLE_BASE_HEX_H
#define DHOLE_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes 2 * size digits and a NUL. */
void dhole__hex_write(const uint8_t *bytes, size_t size, char *out);

/* Reads 2 * size digits of either case, of `text` of that length; false when it is anything else.
 */
bool dhole__hex_read(const char *text, size_t size, uint8_t *out);

#endif
