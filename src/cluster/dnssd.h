/* What finding and announcing share of the system's DNS-SD. */
#ifndef DHOLE_CLUSTER_DNSSD_H
#define DHOLE_CLUSTER_DNSSD_H

#include <dns_sd.h>

#include "base/error.h"

static inline dhole_err dhole__dnssd_fail(DNSServiceErrorType error)
{
    return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                       "no discovery: mDNSResponder answers error %d; restart it with `sudo "
                       "launchctl kickstart -k system/com.apple.mDNSResponder`",
                       (int)error);
}

#endif
