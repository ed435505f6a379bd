/* Ranks of one test on two machines. DHOLE_TEST_APART="MACHINE,ADDRESS0,ADDRESS1", with the number
 * of this machine, 0 or 1, and where each of them is reached, says that this process runs the
 * ranks of even or of odd number; another process runs the same test on the other machine, with the
 * others. Without it all ranks are here. */
#ifndef TEST_CONFORMANCE_APART_H
#define TEST_CONFORMANCE_APART_H

#include <stdbool.h>
#include <stddef.h>

bool apart(void);

bool apart_is_here(int rank);

/* This machine's address. */
const char *apart_address(void);

/* Swaps `size` bytes with the other process, once it has come as far; one thread at a time. Fails
 * the test when it does not come, or runs another test. */
void apart_swap(const void *ours, void *theirs, size_t size);

#endif
