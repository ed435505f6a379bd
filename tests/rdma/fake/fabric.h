/* What the fake is made of. One lock guards it all. */
#ifndef FAKE_FABRIC_H
#define FAKE_FABRIC_H

#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fake.h"

enum { device_max = 160, gid_max = 8, inline_room = 512, sge_room = 8 };

struct settings {
    int qp, qp_errno;
    int qp_max, mr_max, qp_told, mr_told;
    int wr_max, sge_max, cqe_max, inline_max;
    int gids, port, pd, mtu, msg_max, msg_refuse;
    int net, host, unreachable, gid_errno, gid_at, seen, unplugged, quiet;
    int drop, drop_rate, seed, cut, cut_after, twice;
    int fail_send, fail_recv, fail_status;
};

enum qp_kinds { BOTH, RC, UC };
enum gid_tables { RXE, MLX5, V4_AT_1, V4_AT_2, LINK, GLOBAL, NONE };

struct gid {
    union ibv_gid gid;
    enum ibv_gid_type type;
};

struct device {
    struct ibv_device base;
    int number;
    int opened, listener; /* for other processes */
    struct settings settings;
    struct fake_counts counts;
    unsigned long long random;
};

struct context {
    struct verbs_context verbs; /* ends with the ibv_context */
    struct device *device;
    int reporting; /* the end of a pipe into which its events go */
    struct context *next;
};

struct region {
    struct ibv_mr mr;
    int access;
    struct region *next;
};

struct completion {
    struct ibv_wc wc;
    struct pair *pair;
    bool is_recv;
    int frees; /* places in the send queue */
};

struct queue {
    struct ibv_cq cq;
    struct completion *ring;
    int first, count;
    bool armed, armed_solicited, overrun;
    int pairs;
    unsigned events, acked;
    struct queue *next;
};

struct send {
    struct ibv_send_wr wr;
    struct ibv_sge sge[sge_room];
    uint8_t bytes[inline_room];
    bool waited;
};

struct recv {
    uint64_t id;
    struct ibv_sge sge[sge_room];
    int sges;
};

struct pair {
    struct ibv_qp qp;
    struct device *device;
    struct ibv_qp_init_attr init;
    struct ibv_qp_attr attr; /* what modify has set */
    struct send *sends;      /* not moved yet */
    int send_first, send_count;
    int send_places; /* in use, until a completion is polled */
    int unsignaled;  /* moved since the last completion */
    struct recv *recvs;
    int recv_first, recv_count;
    int recv_places;
    size_t filled; /* of the first receive, by a message that was cut */
    bool flushed;
    int call; /* to a device of another process; -1 */
    struct pair *next;
};

extern pthread_mutex_t fabric;
extern struct pair *pairs;
extern struct region *regions;
extern struct device devices[device_max];
extern int device_count;

/* All of these with the lock held. */

void devices_settle(void);

/* The errno with which this call is to fail; 0: it is not. */
int planned(const char *verb);
void misuse(const char *what);

struct device *device_of(struct ibv_context *context);
void count_live(struct device *device, int more);

/* The entry of the device's table; all zeroes beyond its end. */
struct gid gid_at(const struct device *device, int index);
struct device *device_with(const union ibv_gid *gid);
int host_of(const struct device *device);
int gid_table_length(const struct device *device);

/* Whether two of them are of one kind, so that one can be reached from the other. */
bool gids_alike(const union ibv_gid *a, const union ibv_gid *b);

void complete(struct ibv_cq *cq, const struct completion *completion, bool solicited);
void forget_completions(struct ibv_cq *cq, const struct pair *pair);

/* Completes whatever is queued as flushed. */
void flush(struct pair *pair);
void fail_pair(struct pair *pair);

/* Moves what can be moved; with a thread of its own for that, tells it. */
void deliver(void);

/* Puts a message that has arrived into the receive that is posted first; what the sender gets. */
enum ibv_wc_status place(struct pair *peer, const struct send *send);

/* Devices of other processes (abroad.c). A call goes to that device of the pair's own net. */
enum sending { SENT, NOT_YET, GONE };
void abroad_open(struct device *device);
void abroad_close(struct device *device);
bool abroad_call(struct pair *pair, const union ibv_gid *gid);
void abroad_hang_up(struct pair *pair);
enum sending abroad_send(struct pair *pair, const struct send *message);
void abroad_look(void); /* what has arrived may have a receive now */

/* False, with errno: it cannot report events. */
bool events_open(struct context *context);
void events_close(struct context *context);

/* What the thread does; with the lock held but while it sleeps. */
void background_start(void);
void background_stop(void); /* releases the lock meanwhile */

/* The verbs that are reached through a context. */
int do_poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc);
int do_req_notify_cq(struct ibv_cq *cq, int solicited_only);
int do_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int do_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);

#endif
