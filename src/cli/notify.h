/* Tells the service manager how this process is, by systemd's protocol: a datagram to the socket in
 * NOTIFY_SOCKET. Nothing happens where there is none. */
#ifndef DHOLE_CLI_NOTIFY_H
#define DHOLE_CLI_NOTIFY_H

#include "base/error.h"

/* Such as "READY=1\nSTATUS=..." or "STOPPING=1". */
void dhole__notify(const char *format, ...) DHOLE__PRINTF(1, 2);

#endif
