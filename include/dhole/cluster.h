/* Clusters: whom this machine trusts, and a session of several machines. */
#ifndef DHOLE_CLUSTER_H
#define DHOLE_CLUSTER_H

#include <stddef.h>
#include <stdint.h>

#include "dhole/error.h"
#include "dhole/group.h"
#include "dhole/link.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Whom it trusts -----------------------------------------------------------------------------
 */

enum { DHOLE_NAME_SIZE = 64, DHOLE_ADDRESS_SIZE = 256 };

/* A machine that is trusted. A name is 1..63 of the characters A-Z a-z 0-9 . _ -, and not "." nor
 * "..". The address, "host:port", is "" where none is known. */
typedef struct dhole_trusted {
    char name[DHOLE_NAME_SIZE];
    dhole_pin pin;
    char address[DHOLE_ADDRESS_SIZE];
} dhole_trusted;

/* What a trust file says: a line a machine, "NAME FINGERPRINT [ADDRESS]", # begins a comment.
 * Immutable; any thread may use it. */
typedef struct dhole_trust dhole_trust;

/* NULL: $DHOLE_TRUST, else trusted beside the identity. No file is an empty list. DHOLE_ERR_FORMAT
 * names the line. The caller frees *out with dhole_trust_free. */
dhole_err dhole_trust_load(const char *path, dhole_trust **out);
void dhole_trust_free(dhole_trust *trust);
size_t dhole_trust_count(const dhole_trust *trust);
const dhole_trusted *dhole_trust_at(const dhole_trust *trust, size_t i);

/* NULL when there is none. */
const dhole_trusted *dhole_trust_by_name(const dhole_trust *trust, const char *name);
const dhole_trusted *dhole_trust_by_pin(const dhole_trust *trust, const dhole_pin *pin);

/* Change the file, all or nothing, and safely beside other processes that do; comments stay. Adding
 * a name that is there with another key is DHOLE_ERR_AUTH, as a key that changes is an alarm: the
 * old one must be removed first; with the same key the address, unless it is "", replaces the old
 * one. A key that is there under another name, and removing a name that is not there, are
 * DHOLE_ERR_INVALID. */
dhole_err dhole_trust_add(const char *path, const dhole_trusted *machine);
dhole_err dhole_trust_remove(const char *path, const char *name);

/* ---- Pairing: both pin each other in one step ---------------------------------------------------
 */

typedef struct dhole_pairing dhole_pairing;

enum { DHOLE_TOKEN_SIZE = 1024 };

/* Listens at `address` ("host:port"; port 0 is a free one), and makes a token that is good for one
 * machine, once, for valid_s seconds, 1 to a week: where to call, this machine's fingerprint, a
 * secret. It must reach the other machine by a way that nobody else reads. `name` is how this
 * machine is called; NULL is the host's name. `identity` must outlive *out, which the caller frees
 * with dhole_pairing_free. */
dhole_err dhole_pair(const dhole_identity *identity, const char *name, const char *address,
                     int64_t valid_s, dhole_pairing **out);
const char *dhole_pairing_token(const dhole_pairing *pairing);

/* Waits for the other machine and says who it is; the caller adds it to the trust file. Once, as
 * the token is void then. DHOLE_ERR_TIMEOUT when it has expired, DHOLE_ERR_CANCELLED,
 * DHOLE_ERR_AUTH after a few wrong secrets, DHOLE_ERR_PEER_LOST when the other machine had the
 * secret but cannot have heard the answer. Whoever is refused is not told why. */
dhole_err dhole_pairing_wait(dhole_pairing *pairing, int cancel_fd, dhole_trusted *out);
void dhole_pairing_free(dhole_pairing *pairing);

/* The other machine's part. *out is who made the token. `own_address` is where this machine's
 * worker listens, or NULL; in place of a wildcard such as 0.0.0.0 the other machine puts what it
 * sees. DHOLE_ERR_AUTH: refused, or not the machine that the token names; DHOLE_ERR_FORMAT: no
 * token; DHOLE_ERR_TIMEOUT: it has expired by this machine's clock, and was not taken;
 * DHOLE_ERR_PEER_LOST: nobody is there. */
dhole_err dhole_pair_join(const dhole_identity *identity, const char *name, const char *own_address,
                          const char *token, int cancel_fd, dhole_trusted *out);

/* ---- Session: several machines that know each other ---------------------------------------------
 */

/* One rank, the coordinator, is rank 0 and listens; the others join it. When all are there, all get
 * the roster, and every two link directly. Each roster is an epoch: when a rank is lost the session
 * waits for it, and its coming back, with fresh keys everywhere, is a new epoch. A thread of the
 * session's keeps it: pings, takes ranks back, and, on a rank that joined, calls the coordinator
 * again with growing pauses. */
typedef struct dhole_cluster dhole_cluster;

typedef enum dhole_peer_state {
    DHOLE_PEER_READY,
    DHOLE_PEER_DEGRADED,   /* linked, but this many pings in a row were not answered */
    DHOLE_PEER_UNAVAILABLE /* three were not, or there is no link */
} dhole_peer_state;

typedef struct dhole_peer {
    int rank;
    char name[DHOLE_NAME_SIZE];
    char address[DHOLE_ADDRESS_SIZE];
    dhole_pin pin;
    dhole_peer_state state;
    int missed;            /* pings in a row */
    int64_t round_trip_us; /* of the last ping; 0 before */
    int model_loaded;      /* as it says of itself */
    int in_flight;         /* requests */
    int memory_pressure;   /* percent of its memory that is in use; -1 unknown */
    char why[256];         /* it is not ready; "" */
} dhole_peer;

typedef struct dhole_cluster_options {
    const dhole_identity *identity; /* required; outlives the session */
    const dhole_trust *trust;       /* required; copied */
    const char *name;               /* of this machine; NULL is the host's */
    /* Coordinator: where to listen; others: the coordinator's address. "host:port", or several of
     * them, at most 8, separated by commas: a coordinator listens at all, so that it can be on
     * several networks, and the others call one after the other. Or "file:" and the path of a file
     * that all of them see: the coordinator listens at own_address, a free port of 127.0.0.1 where
     * that is NULL, and writes there where it is (mode 0600); the others read it, whenever they
     * call. */
    const char *address;
    /* Joining ranks: where this one listens for its peers, port 0 for a free one; NULL is the local
     * address of the connection to the coordinator. A wildcard such as 0.0.0.0 is all networks that
     * this machine is on, and the peers call where they can; every two ranks need one in common, or
     * a route. */
    const char *own_address;
    /* Coordinator: names of the other ranks in the trust file, in the order of ranks 1.., `count`
     * of them; or NULL: any `count` trusted machines, ranked by address. */
    const char *const *members;
    int count;
    /* Joining ranks: name of the coordinator in the trust file; NULL is any trusted machine. */
    const char *coordinator;
    /* Keeps two sessions apart; at most 32 bytes. NULL is "". */
    const char *session;
    int64_t join_timeout_ms; /* until all are there; 0 is 30 s */
    int64_t ping_ms;         /* between pings; 0 is 1400 */
    int64_t reconnect_ms;    /* longest pause before calling again; 0 is 10 s */
    int cancel_fd;
    /* Coordinator: called once, when it listens, with the address and the port that was taken, or
     * the addresses, in the thread that called dhole_cluster_listen: to tell the others. An error
     * ends the call. */
    dhole_err (*listening)(void *arg, const char *address);
    void *listening_arg;
    /* Joining ranks, where address is NULL: called in a thread of the session's whenever it is
     * about to call the coordinator, to say where that is. DHOLE_ERR_PEER_LOST, or _TIMEOUT: not
     * known yet. */
    dhole_err (*find)(void *arg, char address[DHOLE_ADDRESS_SIZE]);
    void *find_arg;
    /* This machine's RDMA devices for groups of backend jaccl, "rdma_en2,rdma_en3", each named as
     * in dhole_options; which of them leads to whom is found out. NULL: all that can be used. */
    const char *devices;
} dhole_cluster_options;

/* clang-format off */
#define DHOLE_CLUSTER_OPTIONS_INIT \
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, 0, -1, NULL, NULL, NULL, NULL, NULL}
/* clang-format on */

/* Block until the first epoch, with all ranks linked to each other, or the deadline.
 * DHOLE_ERR_TIMEOUT says who is missing, and why; DHOLE_ERR_PEER_LOST which two do not reach each
 * other; DHOLE_ERR_AUTH that the coordinator holds another
 * key, or refuses this machine. The caller frees *out with dhole_cluster_free. */
dhole_err dhole_cluster_listen(const dhole_cluster_options *options, dhole_cluster **out);
dhole_err dhole_cluster_join(const dhole_cluster_options *options, dhole_cluster **out);

int dhole_cluster_rank(const dhole_cluster *cluster);
int dhole_cluster_size(const dhole_cluster *cluster);

/* From 1. */
uint64_t dhole_cluster_epoch(const dhole_cluster *cluster);

/* Of any rank but this one; what is known now. Any thread, as of all that follow; but one alone may
 * send to, or receive from, a rank, and one make a group. */
void dhole_cluster_peer(const dhole_cluster *cluster, int rank, dhole_peer *out);

/* What this rank's pongs say of it. */
void dhole_cluster_set_status(dhole_cluster *cluster, int model_loaded, int in_flight);

/* Blocks until all ranks are ready in one epoch, which the calls below are about from then on: when
 * it is over they fail with DHOLE_ERR_PEER_LOST, at once, and until this has been called again, so
 * that nobody takes another epoch for it. DHOLE_ERR_TIMEOUT says who is not ready, and why;
 * DHOLE_ERR_PEER_LOST: the coordinator has ended the session; DHOLE_ERR_CANCELLED. */
dhole_err dhole_cluster_wait(dhole_cluster *cluster, int64_t timeout_ms);

/* A group of all ranks of this epoch, in the same order, sealed with the roster's keys. All call
 * it, each with the same backend, agreement and the like in `base`, whose rank, size, hosts,
 * listen_fd, session, identity, pins and all_gather are ignored; NULL is DHOLE_OPTIONS_INIT. With
 * backend "jaccl", or "jaccl-ring", and no devices in `base` the session's are taken; a rank that
 * can't use them is named by the error, DHOLE_ERR_CONFIG or _UNSUPPORTED, of all ranks. A rank that
 * is lost breaks the group, once, on all ranks; it is still to be freed, at any time. */
dhole_err dhole_cluster_group(dhole_cluster *cluster, const dhole_options *base, dhole_group **out);

/* Words between the coordinator and another rank, in order, at most 48 KiB. A message that was sent
 * in an epoch that is over is never received; 4 MiB that wait to be received end it. timeout_ms 0
 * is 60 s; DHOLE_ERR_TIMEOUT changes nothing, nor does DHOLE_ERR_LIMIT, when there is more than
 * `capacity`. */
dhole_err dhole_cluster_send(dhole_cluster *cluster, int to, const void *data, size_t size);
dhole_err dhole_cluster_recv(dhole_cluster *cluster, int from, void *data, size_t capacity,
                             size_t *size, int64_t timeout_ms);

/* Says goodbye. A coordinator ends the session for all. NULL is allowed. */
void dhole_cluster_free(dhole_cluster *cluster);

/* ---- Discovery: finds, never trusts -----------------------------------------------------------
 */

/* A machine that says on the local network that it is there (DNS-SD, RFC 6763, type _dhole._tcp;
 * by Avahi on Linux, by the system on macOS). Anybody can say anything: only a link shows who it
 * is. */
typedef struct dhole_found {
    char name[DHOLE_NAME_SIZE];
    char address[DHOLE_ADDRESS_SIZE];
    dhole_pin pin; /* as it says */
} dhole_found;

/* Calls `found` for each, once, in the calling thread, for timeout_ms. DHOLE_ERR_UNSUPPORTED when
 * the service that does it is not there, with how to get it. */
dhole_err dhole_discover(int64_t timeout_ms, void (*found)(void *arg, const dhole_found *machine),
                         void *arg);

/* Says so of this machine until it is freed, as soon and as often as the service that does it is
 * there. */
typedef struct dhole_announcement dhole_announcement;
dhole_err dhole_announce(const char *name, int port, const dhole_pin *pin,
                         dhole_announcement **out);
void dhole_announcement_free(dhole_announcement *announcement);

#ifdef __cplusplus
}
#endif
#endif
