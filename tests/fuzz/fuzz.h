/* The entry of a fuzz target, as libFuzzer and replay.c call it. */
#ifndef DHOLE_TEST_FUZZ_H
#define DHOLE_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
