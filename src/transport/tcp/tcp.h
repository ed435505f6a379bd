/* TCP connections, for the transport and for whoever has a connected socket. */
#ifndef DHOLE_TRANSPORT_TCP_TCP_H
#define DHOLE_TRANSPORT_TCP_TCP_H

#include <sys/socket.h>

#include "transport/conn.h"

/* Makes a connection of a connected stream socket, which it owns on success: sets it
 * non-blocking, close-on-exec, without delay. */
DHOLE__MUST_CHECK dhole_err dhole__tcp_conn_open(int fd, struct dhole__conn **out);

struct dhole__address {
    struct sockaddr_storage addr;
    socklen_t length;
    int family;
};

/* "host:port" or "[v6]:port"; names are resolved. DHOLE_ERR_CONFIG quotes the text. */
DHOLE__MUST_CHECK dhole_err dhole__tcp_resolve(const char *text, struct dhole__address *out);

/* 127.0.0.0/8 or ::1 (also as an IPv4-mapped address). */
bool dhole__tcp_is_loopback(const struct dhole__address *address);

#endif
