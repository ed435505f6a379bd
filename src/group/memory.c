#include <stdint.h>
#include <stdlib.h>

#include "base/os.h"
#include "base/sys.h"
#include "group/backend.h"

/* Pages of the systems we run on have at most 16 KiB. Large memory begins and ends with a large
 * page, so that all of it can be made of such. */
enum { page = 16 << 10, large_page = 2 << 20, large = 2 * large_page };

dhole_err dhole_alloc(dhole_group *group, size_t size, void **out)
{
    size_t unit = size >= large ? large_page : page;
    void *memory = NULL;

    (void)group; /* no transport has memory of its own so far */
    if (size <= SIZE_MAX - unit)
        memory = dhole__sys.aligned_alloc(unit, size > 0 ? (size + unit - 1) / unit * unit : unit);
    if (memory == NULL)
        return dhole__fail_nomem(size, "dhole_alloc");
    if (size >= large)
        dhole__huge_pages(memory, (size + unit - 1) / unit * unit);
    *out = memory;
    return DHOLE_OK;
}

void dhole_dealloc(dhole_group *group, void *memory)
{
    (void)group;
    free(memory);
}
