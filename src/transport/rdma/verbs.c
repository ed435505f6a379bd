#include "transport/rdma/verbs.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __APPLE__
static const char library_name[] = "librdma.dylib";
static const char advice[] = "it comes with macOS 26.2, on Macs with Thunderbolt 5";
#else
static const char library_name[] = "libibverbs.so.1";
static const char advice[] = "install it (Debian: libibverbs1 and ibverbs-providers)";
#endif

struct symbol {
    const char *name;
    size_t offset; /* of its pointer in struct dhole__verbs */
    bool optional;
};

#define NEEDED(x)                                          \
    {                                                      \
        "ibv_" #x, offsetof(struct dhole__verbs, x), false \
    }
#define OPTIONAL(x)                                       \
    {                                                     \
        "ibv_" #x, offsetof(struct dhole__verbs, x), true \
    }

static const struct symbol symbols[] = {
    NEEDED(get_device_list),
    NEEDED(free_device_list),
    NEEDED(get_device_name),
    NEEDED(open_device),
    NEEDED(close_device),
    NEEDED(query_device),
    NEEDED(query_port),
    NEEDED(query_gid),
    NEEDED(alloc_pd),
    NEEDED(dealloc_pd),
    NEEDED(reg_mr),
    NEEDED(dereg_mr),
    NEEDED(create_cq),
    NEEDED(destroy_cq),
    NEEDED(create_qp),
    NEEDED(modify_qp),
    NEEDED(destroy_qp),
    OPTIONAL(create_comp_channel),
    OPTIONAL(destroy_comp_channel),
    OPTIONAL(get_cq_event),
    OPTIONAL(ack_cq_events),
    OPTIONAL(get_async_event),
    OPTIONAL(ack_async_event),
    OPTIONAL(wc_status_str),
    {"_ibv_query_gid_table", offsetof(struct dhole__verbs, query_gid_table), true},
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct dhole__verbs verbs;
static char why_not[dhole__message_max]; /* "": it is there */

static const char *library_path(void)
{
    const char *path = getenv("DHOLE_VERBS_LIBRARY");

    return path != NULL && path[0] != '\0' ? path : library_name;
}

static dhole_err load(void)
{
    const char *path = library_path();
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL) {
        const char *reason = dlerror();
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "no RDMA: %s; %s", reason ? reason : path,
                           advice);
    }
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *address = dlsym(library, symbols[i].name);
        if (address == NULL && !symbols[i].optional) {
            dlclose(library);
            return dhole__fail(DHOLE_ERR_UNSUPPORTED, "no RDMA: %s has no %s; %s", path,
                               symbols[i].name, advice);
        }
        memcpy((char *)&verbs + symbols[i].offset, &address, sizeof address);
    }
    if (verbs.destroy_comp_channel == NULL || verbs.get_cq_event == NULL ||
        verbs.ack_cq_events == NULL)
        verbs.create_comp_channel = NULL;
    if (verbs.ack_async_event == NULL)
        verbs.get_async_event = NULL;
    return DHOLE_OK;
}

static void load_once(void)
{
    if (load() != DHOLE_OK)
        dhole__message_save(why_not);
}

dhole_err dhole__verbs_get(const struct dhole__verbs **out)
{
    pthread_once(&once, load_once);
    if (why_not[0] != '\0')
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "%s", why_not);
    *out = &verbs;
    return DHOLE_OK;
}
