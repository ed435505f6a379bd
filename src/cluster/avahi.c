#include "cluster/avahi.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char library_name[] = "libavahi-client.so.3";
static const char advice[] = "install it (Debian: apt-get install avahi-daemon libavahi-client3)";

static const struct symbol {
    const char *name;
    size_t offset; /* of its pointer in struct dhole__avahi */
} symbols[] = {
#define SYMBOL(x)                                     \
    {                                                 \
        "avahi_" #x, offsetof(struct dhole__avahi, x) \
    }
    SYMBOL(simple_poll_new),
    SYMBOL(simple_poll_free),
    SYMBOL(simple_poll_get),
    SYMBOL(simple_poll_iterate),
    SYMBOL(client_new),
    SYMBOL(client_free),
    SYMBOL(client_errno),
    SYMBOL(service_browser_new),
    SYMBOL(service_resolver_new),
    SYMBOL(service_resolver_free),
    SYMBOL(entry_group_new),
    SYMBOL(entry_group_is_empty),
    SYMBOL(entry_group_reset),
    SYMBOL(entry_group_commit),
    SYMBOL(entry_group_add_service_strlst),
    SYMBOL(string_list_new),
    SYMBOL(string_list_free),
    SYMBOL(alternative_service_name),
    SYMBOL(free),
    SYMBOL(strerror),
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct dhole__avahi avahi;
static char why_not[dhole__message_max]; /* "": it is there */

/* Avahi speaks to its daemon by libdbus, which has the whole process ignore SIGPIPE unless it is
 * told not to. It has no need to on Linux. */
static void leave_signals_alone(void *library)
{
    void *address = dlsym(library, "dbus_connection_set_change_sigpipe");
    void (*change_sigpipe)(unsigned yes);

    if (address == NULL)
        return;
    memcpy(&change_sigpipe, &address, sizeof address);
    change_sigpipe(0);
}

static dhole_err load(void)
{
    const char *named = getenv("DHOLE_AVAHI_LIBRARY");
    const char *path = named != NULL && named[0] != '\0' ? named : library_name;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL) {
        const char *reason = dlerror();
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "no discovery: %s; %s", reason ? reason : path,
                           advice);
    }
    /* Those of libavahi-common are found as well: it is what the library depends on. */
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *address = dlsym(library, symbols[i].name);
        if (address == NULL) {
            dlclose(library);
            return dhole__fail(DHOLE_ERR_UNSUPPORTED, "no discovery: %s has no %s; %s", path,
                               symbols[i].name, advice);
        }
        memcpy((char *)&avahi + symbols[i].offset, &address, sizeof address);
    }
    leave_signals_alone(library);
    return DHOLE_OK;
}

static void load_once(void)
{
    if (load() != DHOLE_OK)
        dhole__message_save(why_not);
}

dhole_err dhole__avahi_get(const struct dhole__avahi **out)
{
    pthread_once(&once, load_once);
    if (why_not[0] != '\0')
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "%s", why_not);
    *out = &avahi;
    return DHOLE_OK;
}

dhole_err dhole__avahi_fail(const struct dhole__avahi *library, int error)
{
    const char *mend = "see `systemctl status avahi-daemon`";

    if (error == AVAHI_ERR_NO_DAEMON || error == AVAHI_ERR_DISCONNECTED)
        mend = "start it with `systemctl start avahi-daemon`; where it is not installed, with "
               "`apt-get install avahi-daemon`";
    else if (error == AVAHI_ERR_TIMEOUT)
        mend = "it hangs: `systemctl restart avahi-daemon`";
    else if (error == AVAHI_ERR_DBUS_ERROR)
        mend = "it is reached over the system's D-Bus: `apt-get install avahi-daemon`, then "
               "`systemctl start dbus avahi-daemon`";
    return dhole__fail(DHOLE_ERR_UNSUPPORTED, "no discovery: avahi-daemon: %s; %s",
                       library->strerror(error), mend);
}
