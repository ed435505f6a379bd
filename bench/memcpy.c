/* memcpy: prints how many bytes per second one core copies between buffers far larger than its
 * caches, the median of several copies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { copies = 9 };

static const size_t size = (size_t)256 << 20;
static volatile unsigned char used; /* so that the copies are made */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

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
    qsort(seconds, copies, sizeof *seconds, compare);
    printf("%.0f\n", (double)size / seconds[copies / 2]);
    free(from);
    free(to);
    return 0;
}
