/* Rank 0's part of the rendezvous. Callers are stepped side by side and polled together, so one
 * that stalls, or is no rank of this group, holds up nobody. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "base/sys.h"
#include "group/rendezvous_wire.h"
#include "transport/io.h"

enum {
    callers_max = 2 * dhole__rank_max,
    introduce_ms = 2000, /* for a caller to say who it is */
    answer_ms = 2000
};

struct caller {
    struct dhole__conn *conn; /* NULL: not in use */
    dhole__deadline deadline; /* of its registration */
    bool registered;
    bool has_head;
    uint8_t head[dhole__registration_size];
    char text[dhole__session_max + dhole__rendezvous_address_max];
    struct dhole__registration said;
    struct dhole__io io; /* of the head, then of the text, then of nothing but its end */
};

struct host {
    const char *coordinator;
    const dhole_options *options;
    int listen_fd;
    bool is_local; /* a Unix socket */
    dhole__deadline deadline;
    struct caller caller[callers_max];
    struct caller *of_rank[dhole__rank_max];
    int missing;
    char refusal[dhole__message_max]; /* the last one; "" */
};

static void hang_up(struct host *host, struct caller *caller)
{
    if (caller->registered) {
        host->of_rank[caller->said.rank] = NULL;
        host->missing++;
    }
    dhole__conn_close(caller->conn);
    *caller = (struct caller){0};
}

/* A caller that does not take its answer misses it. */
static void answer(const struct caller *caller, dhole_err err, const char *text)
{
    uint8_t head[dhole__answer_head_size];

    dhole__answer_encode(&(struct dhole__answer){err, strlen(text)}, head);
    err = dhole__io_run_one(dhole__io_send(caller->conn, head, sizeof head, text, strlen(text)),
                            dhole__deadline_in(answer_ms));
    if (err)
        dhole__log(DHOLE__LOG_WARN, "rank %d did not take its answer: %s", caller->said.rank,
                   dhole_error_message());
}

/* Whoever had this rank may have gone, with nobody looking since. */
static bool is_taken(struct host *host, int rank)
{
    struct caller *holder = host->of_rank[rank];
    bool moved;

    if (holder != NULL && dhole__io_step(&holder->io, 1, &moved) != DHOLE_OK)
        hang_up(host, holder);
    return host->of_rank[rank] != NULL;
}

static dhole_err check_registration(struct host *host, const struct caller *caller)
{
    const struct dhole__registration *said = &caller->said;
    const char *session = host->options->session;

    if (said->size != host->options->size)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "the number of ranks differs: rank 0 has %d, rank %d has %d",
                           host->options->size, said->rank, said->size);
    if (said->rank < 1 || said->rank >= said->size)
        return dhole__fail(DHOLE_ERR_CONFIG, "a process says that it is rank %d: expected 1 to %d",
                           said->rank, said->size - 1);
    if (said->session_length != strlen(session) ||
        memcmp(caller->text, session, said->session_length) != 0)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "the session differs: rank 0 has \"%s\", rank %d \"%.*s\"", session,
                           said->rank, (int)said->session_length, caller->text);
    if (!dhole__rendezvous_is_address(caller->text + said->session_length, said->address_length))
        return dhole__fail(DHOLE_ERR_CONFIG, "rank %d sent no address", said->rank);
    if (is_taken(host, said->rank))
        return dhole__fail(DHOLE_ERR_CONFIG, "a second process says that it is rank %d",
                           said->rank);
    return DHOLE_OK;
}

static dhole_err take_registration(struct host *host, struct caller *caller)
{
    dhole_err err = check_registration(host, caller);

    if (err) {
        dhole__message_save(host->refusal);
        answer(caller, err, host->refusal);
        return err;
    }
    caller->registered = true;
    host->of_rank[caller->said.rank] = caller;
    host->missing--;
    /* The verdict must come before the first of them gives up. */
    host->deadline = dhole__deadline_min(host->deadline, dhole__deadline_in(caller->said.left_ms));
    caller->io = dhole__io_recv(caller->conn, caller->head, 1, NULL, 0);
    return DHOLE_OK;
}

/* Goes on as far as can be gone without waiting; an error is the end of this caller. */
static dhole_err step(struct host *host, struct caller *caller)
{
    bool moved;
    dhole_err err = dhole__io_step(&caller->io, 1, &moved);

    if (err)
        return err;
    if (dhole__io_left(&caller->io) > 0) {
        if (!caller->registered && dhole__now() >= caller->deadline)
            return dhole__fail(DHOLE_ERR_TIMEOUT, "it did not say who it is");
        return DHOLE_OK;
    }
    if (caller->registered)
        return dhole__fail(DHOLE_ERR_PROTOCOL, "rank %d spoke out of turn", caller->said.rank);
    if (caller->has_head)
        return take_registration(host, caller);
    if (!dhole__registration_decode(caller->head, &caller->said))
        return dhole__fail(DHOLE_ERR_PROTOCOL, "it is not one of us");
    caller->has_head = true;
    caller->io = dhole__io_recv(caller->conn, caller->text,
                                caller->said.session_length + caller->said.address_length, NULL, 0);
    return step(host, caller);
}

/* When all places are taken, the stranger who is nearest to its deadline makes way. */
static struct caller *place_for_caller(struct host *host)
{
    struct caller *oldest = NULL;

    for (int i = 0; i < callers_max; i++) {
        struct caller *caller = &host->caller[i];
        if (caller->conn == NULL)
            return caller;
        if (!caller->registered && (oldest == NULL || caller->deadline < oldest->deadline))
            oldest = caller;
    }
    hang_up(host, oldest);
    return oldest;
}

static bool is_welcome(const struct host *host, int fd)
{
    uid_t user;
    pid_t process;

    return !host->is_local ||
           (dhole__socket_peer(fd, &user, &process) == 0 && (user == geteuid() || user == 0));
}

static dhole_err accept_all(struct host *host)
{
    for (;;) {
        int fd = dhole__sys.accept(host->listen_fd, NULL, NULL);
        struct dhole__conn *conn;
        struct caller *caller;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot accept the other ranks");
        if (fd < 0)
            return DHOLE_OK;
        if (!is_welcome(host, fd) || dhole__tcp_conn_open(fd, &conn)) {
            close(fd);
            continue;
        }
        caller = place_for_caller(host);
        caller->conn = conn;
        caller->deadline = dhole__deadline_in(introduce_ms);
        caller->io = dhole__io_recv(conn, caller->head, sizeof caller->head, NULL, 0);
    }
}

static void step_all(struct host *host)
{
    for (int i = 0; i < callers_max; i++) {
        struct caller *caller = &host->caller[i];
        if (caller->conn == NULL || step(host, caller) == DHOLE_OK)
            continue;
        dhole__log(caller->has_head ? DHOLE__LOG_WARN : DHOLE__LOG_INFO,
                   "a caller at %s went or was refused: %s", host->coordinator,
                   dhole_error_message());
        hang_up(host, caller);
    }
}

static dhole_err sleep_on_callers(const struct host *host)
{
    struct pollfd pfds[callers_max + 2];
    dhole__deadline deadline = host->deadline;
    int n = 0;
    dhole_err err;

    pfds[n++] = (struct pollfd){.fd = host->listen_fd, .events = POLLIN};
    pfds[n++] = (struct pollfd){.fd = host->options->cancel_fd, .events = POLLIN};
    for (int i = 0; i < callers_max; i++) {
        const struct caller *caller = &host->caller[i];
        if (caller->conn == NULL)
            continue;
        if (!dhole__io_arm(&caller->io, &pfds[n++]))
            return DHOLE_OK;
        if (!caller->registered)
            deadline = dhole__deadline_min(deadline, caller->deadline);
    }
    err = dhole__io_poll(pfds, n, deadline);
    return err == DHOLE_ERR_TIMEOUT ? DHOLE_OK : err;
}

static dhole_err fail_missing(const struct host *host)
{
    char ranks[dhole__rank_max * 4 + 1];
    int n = 0;

    for (int rank = 1; rank < host->options->size; rank++)
        if (host->of_rank[rank] == NULL)
            n += snprintf(ranks + n, sizeof ranks - (size_t)n, n > 0 ? ", %d" : "%d", rank);
    return dhole__fail(DHOLE_ERR_TIMEOUT, "%s %s did not come to %s in time%s%s",
                       host->missing > 1 ? "ranks" : "rank", ranks, host->coordinator,
                       host->refusal[0] != '\0' ? "; refused was: " : "", host->refusal);
}

static dhole_err gather(struct host *host)
{
    for (;;) {
        dhole_err err = dhole__rendezvous_check_cancelled(host->options);
        if (!err)
            err = accept_all(host);
        if (err)
            return err;
        step_all(host);
        if (host->missing == 0)
            return DHOLE_OK;
        if (dhole__now() >= host->deadline)
            return fail_missing(host);
        err = sleep_on_callers(host);
        if (err)
            return err;
    }
}

static void write_list(const struct host *host, const char *own, char *list)
{
    size_t n = (size_t)sprintf(list, "%s\n", own);

    for (int rank = 1; rank < host->options->size; rank++) {
        const struct caller *caller = host->of_rank[rank];
        memcpy(list + n, caller->text + caller->said.session_length, caller->said.address_length);
        n += caller->said.address_length;
        list[n++] = '\n';
    }
    list[n] = '\0';
}

static void answer_all(const struct host *host, dhole_err err, const char *text)
{
    for (int rank = 1; rank < host->options->size; rank++)
        if (host->of_rank[rank] != NULL)
            answer(host->of_rank[rank], err, text);
}

static void answer_failure(const struct host *host, dhole_err err)
{
    char message[dhole__message_max];

    dhole__message_save(message);
    answer_all(host, err == DHOLE_ERR_TIMEOUT ? err : DHOLE_ERR_PEER_LOST, message);
    dhole__message_restore(message);
}

/* A socket that a killed process left behind refuses, and makes way. */
static bool remove_stale(const struct dhole__address *address)
{
    const char *path = ((const struct sockaddr_un *)&address->addr)->sun_path;
    struct stat st;
    int fd;

    if (address->family != AF_UNIX || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = dhole__tcp_try_connect(address, dhole__now());
    if (fd >= 0)
        close(fd);
    return fd < 0 && errno == ECONNREFUSED && unlink(path) == 0;
}

static dhole_err listen_at(const struct dhole__address *address, const char *coordinator, int *fd)
{
    if (dhole__tcp_listen(address, fd) == 0)
        return DHOLE_OK;
    if (errno == EADDRINUSE && remove_stale(address) && dhole__tcp_listen(address, fd) == 0)
        return DHOLE_OK;
    return dhole__fail_errno(DHOLE_ERR_CONFIG,
                             "cannot listen on %s, where the ranks meet; is there a second rank 0?",
                             coordinator);
}

static void stop_listening(const struct host *host, const struct dhole__address *address)
{
    close(host->listen_fd);
    if (host->is_local)
        unlink(((const struct sockaddr_un *)&address->addr)->sun_path);
}

/* Where the mesh finds rank 0: on the coordinator's address, or on loopback. */
static dhole_err listen_for_mesh(const struct host *host, const struct dhole__address *address,
                                 int *fd, char own[static dhole__rendezvous_address_max])
{
    struct dhole__address mesh = *address;

    if (host->is_local) {
        dhole_err err = dhole__tcp_resolve("127.0.0.1:0", &mesh);
        if (err)
            return err;
    }
    return dhole__rendezvous_listen(&mesh, fd, own);
}

dhole_err dhole__rendezvous_host(const char *coordinator, const struct dhole__address *address,
                                 const dhole_options *options, dhole__deadline deadline,
                                 int *listen_fd, char list[static dhole__answer_max + 1])
{
    struct host *host = dhole__sys.calloc(1, sizeof *host);
    char own[dhole__rendezvous_address_max];
    dhole_err err;

    if (host == NULL)
        return dhole__fail_nomem(sizeof *host, "finding the other ranks");
    host->coordinator = coordinator;
    host->options = options;
    host->is_local = address->family == AF_UNIX;
    host->deadline = deadline;
    host->missing = options->size - 1;
    err = listen_at(address, coordinator, &host->listen_fd);
    if (err)
        goto out;
    dhole__log(DHOLE__LOG_INFO, "rank 0 waits for %d ranks at %s", host->missing, coordinator);
    err = listen_for_mesh(host, address, listen_fd, own);
    if (!err) {
        err = gather(host);
        if (err)
            close(*listen_fd);
    }
    /* Before the answers, so that whoever has one can go on to the next rendezvous here. */
    stop_listening(host, address);
    if (err) {
        answer_failure(host, err);
    } else {
        write_list(host, own, list);
        answer_all(host, DHOLE_OK, list);
    }
    for (int i = 0; i < callers_max; i++)
        dhole__conn_close(host->caller[i].conn);
out:
    free(host);
    return err;
}
