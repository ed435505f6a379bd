/* Any bytes as a session's roster: refused, or all in it is valid and can be told again. */
#include <stdlib.h>
#include <string.h>

#include "cluster/roster.h"
#include "fuzz.h"

static void tell_again(const struct dhole__roster *roster)
{
    json_t *json = dhole__roster_encode(roster, roster->rank);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    struct dhole__roster *again = calloc(1, sizeof *again);

    if (text == NULL || again == NULL ||
        dhole__roster_decode(text, strlen(text), again) != DHOLE_OK ||
        again->epoch != roster->epoch || again->rank != roster->rank || again->size != roster->size)
        abort();
    for (int i = 0; i < roster->size; i++)
        if (strcmp(again->who[i].name, roster->who[i].name) != 0 ||
            strcmp(again->who[i].address, roster->who[i].address) != 0 ||
            memcmp(&again->who[i].pin, &roster->who[i].pin, sizeof(dhole_pin)) != 0)
            abort();
    free(again);
    free(text);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dhole__roster *roster = calloc(1, sizeof *roster);

    if (roster != NULL && dhole__roster_decode(data, size, roster) == DHOLE_OK)
        tell_again(roster);
    free(roster);
    return 0;
}
