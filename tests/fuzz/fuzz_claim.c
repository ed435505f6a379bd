/* Any bytes as what a machine of the local network claims to be: items with a length before each,
 * as DNS-SD has them (RFC 6763, section 6.1). It is refused, or all in it is valid. */
#include <stdlib.h>
#include <string.h>

#include "cluster/discovery.h"
#include "cluster/trust.h"
#include "fuzz.h"

/* Reading beyond an item is found by the sanitizer, as each has memory of its own. */
static void take(struct dhole__claim *claim, const uint8_t *item, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (copy == NULL)
        return;
    memcpy(copy, item, size);
    dhole__claim_item(claim, copy, size);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dhole__claim claim = {.bad = false};

    while (size > 0 && data[0] < size) {
        take(&claim, data + 1, data[0]);
        size -= 1U + data[0];
        data += 1U + data[0];
    }
    if (dhole__claim_is_whole(&claim) && dhole__check_name(claim.name) != DHOLE_OK)
        abort();
    return 0;
}
