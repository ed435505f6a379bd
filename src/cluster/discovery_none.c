#include "base/error.h"
#include "dhole/cluster.h"

static dhole_err none(void)
{
    return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                       "no discovery: this build has none; build it with Avahi's headers (Debian: "
                       "apt-get install libavahi-client-dev), or name the machines");
}

dhole_err dhole_discover(int64_t timeout_ms, void (*found)(void *arg, const dhole_found *machine),
                         void *arg)
{
    (void)timeout_ms, (void)found, (void)arg;
    return none();
}

dhole_err dhole_announce(const char *name, int port, const dhole_pin *pin, dhole_announcement **out)
{
    (void)name, (void)port, (void)pin, (void)out;
    return none();
}

void dhole_announcement_free(dhole_announcement *announcement)
{
    (void)announcement;
}
