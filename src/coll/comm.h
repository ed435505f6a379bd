/* What a collective sees of a group: its rank, a lane to every peer, and one way to
 * exchange checked messages over them.
 *
 * Every message begins with a header that says which call it belongs to. Ranks that run
 * the same call with the same arguments send the same header, so the receiver compares
 * it with its own and nothing else: a difference is DHOLE_ERR_MISMATCH in words. */
#ifndef DHOLE_COLL_COMM_H
#define DHOLE_COLL_COMM_H

#include "base/clock.h"
#include "coll/self.h"
#include "coll/topology.h"
#include "dhole/dtype.h"
#include "reduce/reduce.h"
#include "transport/io.h"

/* X(code, value on the wire, name) */
#define DHOLE__COLL_MAP(X)           \
    X(BARRIER, 1, "barrier")         \
    X(ALL_SUM, 2, "all_sum")         \
    X(ALL_MAX, 3, "all_max")         \
    X(ALL_MIN, 4, "all_min")         \
    X(ALL_GATHER, 5, "all_gather")   \
    X(BROADCAST, 6, "broadcast")     \
    X(POINT, 7, "send/recv")         \
    X(SUM_SCATTER, 8, "sum_scatter") \
    X(ALL_TO_ALL, 9, "all_to_all")

enum dhole__coll {
#define DHOLE__COLL_ENUM(code, value, name) DHOLE__COLL_##code = (value),
    DHOLE__COLL_MAP(DHOLE__COLL_ENUM)
#undef DHOLE__COLL_ENUM
};

enum { dhole__header_size = 32 };

struct dhole__waits;

struct dhole__comm {
    int rank, size;
    struct dhole__conn *lane[dhole__rank_max]; /* NULL for this rank itself */
    uint64_t calls;                            /* collective calls begun */
    uint64_t sent[dhole__rank_max];            /* point-to-point messages to and from each */
    uint64_t received[dhole__rank_max];
    struct dhole__self self; /* messages to this rank itself */
    struct dhole__topology topology;
    uint8_t *scratch;
    size_t scratch_size;
    struct dhole__idle idle; /* while a call waits */
    /* Called when nothing has moved for a while in a call, with what each rank is to be told, and
     * with NULL when it does not wait any more, unless it has failed. NULL: not at all. */
    void (*on_wait)(void *arg, const struct dhole__waits *waits);
    void *on_wait_arg;
    const struct dhole__exchange *exchange; /* that is under way */
    bool waits;                             /* on_wait was called, and not with NULL since */
    bool crowded; /* more ranks than processors on some host; all ranks say the same */
    bool ring;    /* fast lanes join neighbours only; of four ranks or more; all say the same */
    int culprit;  /* the peer that the last failure is about, -1 when it is none */
    int hearsay;  /* of one that came too late: steps to the rank that it may have waited for */
};

/* One call of one collective, as all ranks should describe it. */
struct dhole__call {
    enum dhole__coll coll;
    dhole_dtype dtype;
    int root;
    size_t count;    /* elements, as the caller gave them */
    uint64_t number; /* set by dhole__comm_begin, or the message's number in its pair */
    uint16_t step;   /* counts the exchanges within the call */
    dhole__deadline deadline;
};

/* One message to or from a peer. */
struct dhole__part {
    int peer;
    void *data;
    size_t bytes;
};

/* Makes the scratch memory; rank, size and lanes are filled in by the caller, who owns
 * the lanes. */
DHOLE__MUST_CHECK dhole_err dhole__comm_init(struct dhole__comm *comm);
void dhole__comm_free(struct dhole__comm *comm);

/* Numbers a collective call. */
void dhole__comm_begin(struct dhole__comm *comm, struct dhole__call *call);

/* Sends out[0..out_count) and receives in[0..in_count) side by side, at most one message a
 * peer and direction. Returns when all are through. */
DHOLE__MUST_CHECK dhole_err dhole__comm_exchange(struct dhole__comm *comm, struct dhole__call *call,
                                                 const struct dhole__part *out, int out_count,
                                                 const struct dhole__part *in, int in_count);

/* One message on its way, for whoever steps several at a time of their own. It must stay where it
 * is; on one lane and direction one is stepped to its end before the next is started. */
struct dhole__message {
    struct dhole__comm *comm;
    struct dhole__call call;
    int peer;
    uint8_t ours[dhole__header_size], theirs[dhole__header_size];
    struct dhole__io io;
};

void dhole__message_start(struct dhole__message *message, struct dhole__comm *comm,
                          const struct dhole__call *call, enum dhole__io_kind kind,
                          const struct dhole__part *part);

/* Moves what can be moved without waiting; dhole__io_left(&message->io) says what is left. */
DHOLE__MUST_CHECK dhole_err dhole__message_step(struct dhole__message *message, bool *moved);

/* For whoever steps messages: nothing has moved for a while, and this rank goes on when all of
 * these have been. None: it goes on. */
void dhole__comm_wait(struct dhole__comm *comm, const struct dhole__message *const *messages,
                      int count);

/* What a header says. */
enum dhole__coll dhole__header_coll(const uint8_t header[static dhole__header_size]);
uint64_t dhole__header_number(const uint8_t header[static dhole__header_size]);
void dhole__header_describe(const uint8_t header[static dhole__header_size], char *text,
                            size_t size);

/* Whether two headers are of one call, if of different steps. */
bool dhole__header_same_call(const uint8_t a[static dhole__header_size],
                             const uint8_t b[static dhole__header_size]);

/* Runs one that is sent and one that is received, side by side, until both are through. */
DHOLE__MUST_CHECK dhole_err dhole__message_run_both(struct dhole__message *sent,
                                                    struct dhole__message *received);

#endif
