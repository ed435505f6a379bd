/* memcpy: prints how many bytes per second one core copies between buffers far larger than its
 * caches, the median of several copies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "timing.h"

enum { copies = 9 };

static const size_t size = (size_t)256 << 20;
static volatile unsigned char used; /* so that the copies are made */

int main(void)
{
    unsigned char *from = malloc(size), *to = malloc(size);
    double seconds[copies];

    if (from == NULL || to == NULL) {
        fprintf(stderr, "memcpy: no memory for two buffers of %zu bytes\n", size);
        return 1;
    }
    memset(from, 1, size);
    memset(to, 2, size);
    for (int i = 0; i < copies; i++) {
        double start = now();

        from[i] = (unsigned char)i;
        memcpy(to, from, size);
        used = to[i];
        seconds[i] = now() - start;
    }
    printf("%.0f\n", (double)size / median(seconds, copies));
    free(from);
    free(to);
    return 0;
}
