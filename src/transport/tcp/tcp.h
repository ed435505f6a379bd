/* TCP connections, for the transport and for whoever has a connected socket. */
#ifndef DHOLE_TRANSPORT_TCP_TCP_H
#define DHOLE_TRANSPORT_TCP_TCP_H

#include <sys/socket.h>

#include "base/clock.h"
#include "transport/conn.h"

/* Makes a connection of a connected stream socket, which it owns on success: sets it
 * non-blocking, close-on-exec, without delay. */
DHOLE__MUST_CHECK dhole_err dhole__tcp_conn_open(int fd, struct dhole__conn **out);

struct dhole__address {
    struct sockaddr_storage addr;
    socklen_t length;
    int family;
};

/* "host:port" or "[v6]:port"; names are resolved, which may take some seconds and no more.
 * DHOLE_ERR_CONFIG and DHOLE_ERR_TIMEOUT quote the text. Of several, separated by commas, the
 * first. */
DHOLE__MUST_CHECK dhole_err dhole__tcp_resolve(const char *text, struct dhole__address *out);

/* Whether it has that form; nothing is resolved. */
bool dhole__tcp_is_address(const char *text);

/* How many addresses `text` lists, at least 1; and the one at `rail`, 0 <= rail < that, as a text
 * of *length bytes or resolved. */
int dhole__tcp_rails(const char *text);
const char *dhole__tcp_rail(const char *text, int rail, size_t *length);
DHOLE__MUST_CHECK dhole_err dhole__tcp_resolve_rail(const char *text, int rail,
                                                    struct dhole__address *out);

/* The same by a deadline of the caller's; it ends early once cancel_fd is readable (-1: none). */
DHOLE__MUST_CHECK dhole_err dhole__tcp_resolve_rail_by(const char *text, int rail,
                                                       dhole__deadline deadline, int cancel_fd,
                                                       struct dhole__address *out);

/* A socket that listens, non-blocking and close-on-exec; -1 with errno. */
int dhole__tcp_listen(const struct dhole__address *address, int *out);

/* The same at each of the addresses, all on one port: that of the first, or, when it is 0, one that
 * is free on all. */
int dhole__tcp_listen_all(const struct dhole__address *addresses, int count, int *out);

/* One attempt to connect: a socket of that kind, or -1 with errno. */
int dhole__tcp_try_connect(const struct dhole__address *address, dhole__deadline deadline);

/* Begins one: a socket that is connected, or will be, or not, when it is writable; -1 with errno.
 * Then the error that dhole__tcp_connected finds is 0 when it is. */
int dhole__tcp_start_connect(const struct dhole__address *address);
int dhole__tcp_connected(int fd);

/* "host:port" or "[v6]:port" in digits; "?" when it is neither. */
enum { dhole__address_text_max = 128 };
void dhole__tcp_address_text(const struct dhole__address *address,
                             char out[static dhole__address_text_max]);

/* This end of a socket, and the other one, in the same way. */
void dhole__tcp_own_text(int fd, char out[static dhole__address_text_max]);
void dhole__tcp_peer_text(int fd, char out[static dhole__address_text_max]);

/* Whether the other side has closed a connected socket, and all that it had said was taken. */
bool dhole__tcp_has_ended(int fd);

/* A peer that is yet to start refuses, or its host is not up yet: worth another try. */
bool dhole__tcp_worth_retrying(int error);

int dhole__tcp_port(const struct dhole__address *address);
void dhole__tcp_set_port(struct dhole__address *address, int port);

/* 127.0.0.0/8 or ::1 (also as an IPv4-mapped address). */
bool dhole__tcp_is_loopback(const struct dhole__address *address);

#endif
