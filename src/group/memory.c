#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/os.h"
#include "base/sys.h"
#include "group/backend.h"
#include "transport/rdma/rdma.h"

/* Pages of the systems we run on have at most 16 KiB. Large memory begins and ends with a large
 * page, so that all of it can be made of such. */
enum { page = 16 << 10, large_page = 2 << 20, large = 2 * large_page };

/* Memory that the devices will not have is sent with a copy, like any other. */
static void lend(struct dhole__rdma *rdma, void *memory, size_t size)
{
    if (rdma != NULL && dhole__rdma_register(rdma, memory, size) != DHOLE_OK)
        dhole__log(DHOLE__LOG_INFO, "a block of %zu bytes is not registered: %s", size,
                   dhole_error_message());
}

dhole_err dhole_alloc(dhole_group *group, size_t size, void **out)
{
    size_t unit = size >= large ? large_page : page;
    size_t rounded = size > 0 ? (size + unit - 1) / unit * unit : unit;
    void *memory = NULL;

    if (size <= SIZE_MAX - unit)
        memory = dhole__sys.aligned_alloc(unit, rounded);
    if (memory == NULL)
        return dhole__fail_nomem(size, "dhole_alloc");
    if (size >= large)
        dhole__huge_pages(memory, rounded);
    lend(group->backend->rdma(group), memory, rounded);
    *out = memory;
    return DHOLE_OK;
}

void dhole_dealloc(dhole_group *group, void *memory)
{
    struct dhole__rdma *rdma = group->backend->rdma(group);

    if (rdma != NULL && memory != NULL)
        dhole__rdma_unregister(rdma, memory);
    free(memory);
}
