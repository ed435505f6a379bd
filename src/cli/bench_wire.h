/* The ways to move bytes between two processes that `dhole bench link` compares. */
#ifndef DHOLE_CLI_BENCH_WIRE_H
#define DHOLE_CLI_BENCH_WIRE_H

#include <stdbool.h>

#include "dhole/link.h"

struct dhole__wire;

struct dhole__wire_ops {
    /* Both block until all bytes have moved, and fail when none did for a while. */
    dhole_err (*send)(struct dhole__wire *wire, const void *data, size_t size);
    dhole_err (*recv)(struct dhole__wire *wire, void *data, size_t size);
    void (*close)(struct dhole__wire *wire);
};

/* Embedded as the first member of every wire. */
struct dhole__wire {
    const struct dhole__wire_ops *ops;
};

enum { dhole__wire_timeout_ms = 10000, dhole__wire_record = 256 << 10 };

/* Each owns the connected socket from the start, also when it fails; its calls give up when
 * cancel_fd becomes readable. Plain TCP, and over it AES-256-GCM records of dhole__wire_record
 * bytes, each sealed and then sent, received and then opened; they wait as everything in dhole does
 * (io.h). */
dhole_err dhole__wire_tcp(int fd, int cancel_fd, struct dhole__wire **out);
dhole_err dhole__wire_records(int fd, int cancel_fd, struct dhole__wire **out);

/* OpenSSL's TLS 1.3 with AES-256-GCM, SSL_write and SSL_read on a blocking socket. Blocks for the
 * handshake; no key is checked. */
dhole_err dhole__wire_tls(int fd, int cancel_fd, const dhole_identity *identity, bool server,
                          struct dhole__wire **out);

/* A channel of a link, which must outlive it. */
dhole_err dhole__wire_link(dhole_link *link, dhole_channel channel, struct dhole__wire **out);

/* NULL is allowed. */
static inline void dhole__wire_close(struct dhole__wire *wire)
{
    if (wire != NULL)
        wire->ops->close(wire);
}

#endif
