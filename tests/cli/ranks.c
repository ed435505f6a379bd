/* A program for `dhole launch`: each rank tells all others something that can be looked for, then
 * prints the sum of (rank + 1) over the ranks that the environment names; with an argument, goes on
 * summing until something ends it. */
#include <stdio.h>

#include <dhole/group.h>

enum { ranks_max = 64, words_size = 32 };

int main(int argc, char **argv)
{
    dhole_group *group = NULL;
    dhole_err err = dhole_init(NULL, &group);
    char words[words_size], all[ranks_max * words_size];
    float x, sum = 0;

    (void)argv;
    if (err == DHOLE_OK) {
        snprintf(words, sizeof words, "these are words of rank %d", dhole_rank(group));
        err = dhole_all_gather(group, words, all, sizeof words, DHOLE_U8);
    }
    if (err == DHOLE_OK) {
        x = (float)dhole_rank(group) + 1;
        err = dhole_all_sum(group, &x, &sum, 1, DHOLE_F32);
    }
    if (err == DHOLE_OK) {
        printf("rank %d of %d: %g\n", dhole_rank(group), dhole_size(group), (double)sum);
        fflush(stdout);
    }
    while (err == DHOLE_OK && argc > 1)
        err = dhole_all_sum(group, &x, &sum, 1, DHOLE_F32);
    if (err)
        fprintf(stderr, "%s\n", dhole_error_message());
    dhole_group_free(group);
    return err != DHOLE_OK;
}
