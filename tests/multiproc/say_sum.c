/* A program that knows nothing of launchers: joins, adds up the ranks' numbers, says so. */
#include <stdio.h>

#include "dhole/group.h"

int main(void)
{
    dhole_group *group = NULL;
    float sum = 0;
    dhole_err err = dhole_init(NULL, &group);

    if (err == DHOLE_OK) {
        sum = (float)dhole_rank(group) + 1;
        err = dhole_all_sum(group, &sum, &sum, 1, DHOLE_F32);
    }
    if (err == DHOLE_OK)
        printf("rank %d of %d: %g\n", dhole_rank(group), dhole_size(group), (double)sum);
    else
        fprintf(stderr, "%s\n", dhole_error_message());
    dhole_group_free(group);
    return err != DHOLE_OK;
}
