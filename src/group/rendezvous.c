#include "group/rendezvous.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "base/sys.h"
#include "group/rendezvous_wire.h"
#include "transport/io.h"

enum {
    retry_ms = 20,
    slice_ms = 250,   /* between looks at cancel_fd */
    verdict_ms = 1000 /* for rank 0 to say who did not come, when time is up */
};

/* An address that stands for all of a host's is no place to meet. */
static dhole_err check_reachable(const char *coordinator, const struct dhole__address *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->addr;
    bool wild = address->family == AF_INET ? v4->sin_addr.s_addr == INADDR_ANY
                                           : IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
    in_port_t port = address->family == AF_INET ? v4->sin_port : v6->sin6_port;

    if (wild || port == 0)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "the coordinator's address is %s: expected a host of rank 0 that all "
                           "ranks can reach, and a port",
                           coordinator);
    return DHOLE_OK;
}

dhole_err dhole__coordinator_resolve(const char *coordinator, const dhole_options *options,
                                     dhole__deadline deadline, struct dhole__address *out)
{
    struct dhole__address address = {.family = AF_UNIX, .length = sizeof(struct sockaddr_un)};
    struct sockaddr_un *local = (struct sockaddr_un *)&address.addr;

    if (coordinator[0] != '/') {
        dhole_err err =
            dhole__tcp_resolve_rail_by(coordinator, 0, deadline, options->cancel_fd, &address);
        if (!err)
            err = check_reachable(coordinator, &address);
        if (!err)
            *out = address;
        return err;
    }
    if (strlen(coordinator) >= sizeof local->sun_path)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "\"%s\" is too long for the path of a socket: at most %zu bytes",
                           coordinator, sizeof local->sun_path - 1);
    local->sun_family = AF_UNIX;
    strcpy(local->sun_path, coordinator);
    *out = address;
    return DHOLE_OK;
}

static dhole_err pause_until(const dhole_options *options, dhole__deadline deadline)
{
    struct pollfd pfd = {.fd = options->cancel_fd, .events = POLLIN};
    dhole_err err = dhole__io_poll(&pfd, 1, deadline);

    return err == DHOLE_ERR_TIMEOUT ? dhole__rendezvous_check_cancelled(options) : err;
}

/* Runs one transfer to its end. */
static dhole_err finish(struct dhole__io io, const dhole_options *options, dhole__deadline deadline)
{
    for (;;) {
        struct pollfd pfds[2] = {{0}, {.fd = options->cancel_fd, .events = POLLIN}};
        bool moved;
        dhole_err err = dhole__rendezvous_check_cancelled(options);
        if (!err)
            err = dhole__io_step(&io, 1, &moved);
        if (err || dhole__io_left(&io) == 0)
            return err;
        if (dhole__io_arm(&io, &pfds[0]))
            err = dhole__io_poll(pfds, 2, deadline);
        if (err)
            return err;
    }
}

static bool worth_retrying(int error, bool is_local)
{
    return dhole__tcp_worth_retrying(error) || error == ETIMEDOUT ||
           (is_local && (error == ENOENT || error == EAGAIN));
}

static dhole_err dial(const char *coordinator, const struct dhole__address *address,
                      const dhole_options *options, dhole__deadline deadline, int *out)
{
    for (;;) {
        dhole__deadline slice = dhole__deadline_min(deadline, dhole__deadline_in(slice_ms));
        int fd = dhole__tcp_try_connect(address, slice);
        dhole_err err;
        if (fd >= 0) {
            *out = fd;
            return DHOLE_OK;
        }
        if (!worth_retrying(errno, address->family == AF_UNIX))
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot connect to rank 0 at %s",
                                     coordinator);
        if (dhole__now() >= deadline)
            return dhole__fail_errno(DHOLE_ERR_TIMEOUT, "rank 0 could not be reached at %s",
                                     coordinator);
        err = pause_until(options, dhole__deadline_in(retry_ms));
        if (err)
            return err;
    }
}

/* This rank listens where it reaches the coordinator. */
static dhole_err listen_beside(int fd, int *listen_fd, char *own)
{
    struct dhole__address local = {.length = sizeof local.addr};
    uid_t user;
    pid_t process;

    if (getsockname(fd, (struct sockaddr *)&local.addr, &local.length) < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot tell the address of a socket");
    local.family = local.addr.ss_family;
    if (local.family == AF_UNIX) {
        dhole_err err;
        if (dhole__socket_peer(fd, &user, &process) < 0 || (user != geteuid() && user != 0))
            return dhole__fail(DHOLE_ERR_CONFIG, "another user listens there");
        err = dhole__tcp_resolve("127.0.0.1:0", &local);
        if (err)
            return err;
    }
    return dhole__rendezvous_listen(&local, listen_fd, own);
}

static dhole_err introduce(struct dhole__conn *conn, const char *own, const dhole_options *options,
                           dhole__deadline deadline)
{
    struct dhole__registration registration = {
        .rank = options->rank,
        .size = options->size,
        .session_length = strlen(options->session),
        .address_length = strlen(own),
        .left_ms = dhole__deadline_ms(deadline),
    };
    uint8_t head[dhole__registration_size];
    char text[dhole__session_max + dhole__rendezvous_address_max];

    dhole__registration_encode(&registration, head);
    memcpy(text, options->session, registration.session_length);
    memcpy(text + registration.session_length, own, registration.address_length);
    return finish(dhole__io_send(conn, head, sizeof head, text,
                                 registration.session_length + registration.address_length),
                  options, deadline);
}

static dhole_err hear_answer(struct dhole__conn *conn, const dhole_options *options,
                             dhole__deadline deadline, char list[static dhole__answer_max + 1])
{
    uint8_t head[dhole__answer_head_size];
    struct dhole__answer answer;
    dhole_err err = finish(dhole__io_recv(conn, head, sizeof head, NULL, 0), options, deadline);

    if (err)
        return err;
    if (!dhole__answer_decode(head, &answer))
        return dhole__fail(DHOLE_ERR_PROTOCOL, "what listens there is no rank 0 of this version");
    err = finish(dhole__io_recv(conn, list, answer.length, NULL, 0), options, deadline);
    if (err)
        return err;
    list[answer.length] = '\0';
    return answer.err ? dhole__fail(answer.err, "%.900s", list) : DHOLE_OK;
}

/* One visit; DHOLE_ERR_PEER_LOST when rank 0 hung up without an answer. */
static dhole_err visit(const char *coordinator, const struct dhole__address *address,
                       const dhole_options *options, dhole__deadline deadline, int *listen_fd,
                       char *list)
{
    char own[dhole__rendezvous_address_max];
    struct dhole__conn *conn;
    int fd = -1;
    dhole_err err = dial(coordinator, address, options, deadline, &fd);

    if (err)
        return err;
    err = listen_beside(fd, listen_fd, own);
    if (!err) {
        err = dhole__tcp_conn_open(fd, &conn);
        if (err)
            close(*listen_fd);
    }
    if (err) {
        close(fd);
        return err;
    }
    err = introduce(conn, own, options, deadline);
    if (!err)
        err = hear_answer(conn, options, deadline + verdict_ms * INT64_C(1000000), list);
    dhole__conn_close(conn);
    if (err) {
        close(*listen_fd);
        dhole__fail_in(err, "rank 0 at %s", coordinator);
    }
    return err;
}

static dhole_err call_host(const char *coordinator, const struct dhole__address *address,
                           const dhole_options *options, dhole__deadline deadline, int *listen_fd,
                           char *list)
{
    dhole_err err;

    while ((err = visit(coordinator, address, options, deadline, listen_fd, list)) ==
               DHOLE_ERR_PEER_LOST &&
           list[0] == '\0' && dhole__now() < deadline) {
        dhole_err pause = pause_until(options, dhole__deadline_in(retry_ms));
        if (pause)
            return pause;
    }
    return err;
}

static dhole_err alloc_hosts(struct dhole__rendezvous *out)
{
    out->hosts = dhole__sys.calloc((size_t)out->size, sizeof *out->hosts);
    return out->hosts != NULL
               ? DHOLE_OK
               : dhole__fail_nomem((size_t)out->size * sizeof *out->hosts, "a list of hosts");
}

static dhole_err set_host(struct dhole__rendezvous *out, int rank, const char *address,
                          size_t length)
{
    char *host = dhole__sys.malloc(length + 1);

    if (host == NULL)
        return dhole__fail_nomem(length + 1, "an address");
    memcpy(host, address, length);
    host[length] = '\0';
    out->hosts[rank] = host;
    return DHOLE_OK;
}

/* Exactly `size` lines. */
static dhole_err split_list(const char *list, struct dhole__rendezvous *out)
{
    dhole_err err = alloc_hosts(out);

    for (int i = 0; i < out->size && !err; i++) {
        size_t length = strcspn(list, "\n");
        if (length == 0 || list[length] != '\n')
            return dhole__fail(DHOLE_ERR_PROTOCOL, "rank 0 sent a malformed list");
        err = set_host(out, i, list, length);
        list += length + 1;
    }
    if (err)
        return err;
    return *list == '\0' ? DHOLE_OK : dhole__fail(DHOLE_ERR_PROTOCOL, "rank 0 sent a longer list");
}

dhole_err dhole__rendezvous_open(const char *coordinator, const dhole_options *options,
                                 dhole__deadline deadline, struct dhole__rendezvous *out)
{
    struct dhole__rendezvous rendezvous = {.size = options->size, .listen_fd = -1};
    struct dhole__address address;
    char list[dhole__answer_max + 1] = "";
    dhole_err err = dhole__coordinator_resolve(coordinator, options, deadline, &address);

    if (err)
        return err;
    err = options->rank == 0
              ? dhole__rendezvous_host(coordinator, &address, options, deadline,
                                       &rendezvous.listen_fd, list)
              : call_host(coordinator, &address, options, deadline, &rendezvous.listen_fd, list);
    if (err)
        return err;
    err = split_list(list, &rendezvous);
    if (err) {
        dhole__rendezvous_close(&rendezvous);
        return dhole__fail_in(err, "rank 0 at %s", coordinator);
    }
    *out = rendezvous;
    return DHOLE_OK;
}

/* Where this rank is. It listens before the others are told. */
static dhole_err listen_at_own(const dhole_options *options, struct dhole__rendezvous *out,
                               char *own)
{
    const char *host = options->hosts != NULL ? options->hosts[options->rank] : NULL;
    int count = host != NULL ? dhole__tcp_rails(host) : 0, fds[dhole__rails_max];
    struct dhole__address address[dhole__rails_max];

    if (count == 0 || count > dhole__rails_max)
        return dhole__fail(
            DHOLE_ERR_INVALID,
            "hosts[%d] is \"%.200s\": expected where this rank is to listen, at most "
            "%d addresses, as it is to tell the others by all_gather",
            options->rank, host != NULL ? host : "", dhole__rails_max);
    for (int i = 0; i < count; i++) {
        dhole_err err = dhole__tcp_resolve_rail(host, i, &address[i]);
        if (err)
            return err;
    }
    dhole__tcp_set_port(&address[0], 0);
    if (dhole__tcp_listen_all(address, count, fds) < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot listen for the other ranks at %.200s",
                                 host);
    out->listen_fd = fds[0];
    out->others = count - 1;
    memcpy(out->other_fds, fds + 1, (size_t)out->others * sizeof fds[0]);
    dhole__tcp_own_text(fds[0], own);
    return DHOLE_OK;
}

typedef char gathered[dhole__rendezvous_address_max];

/* A rank that could not listen has told so by an empty address. */
static dhole_err take_gathered(gathered *all, struct dhole__rendezvous *out)
{
    dhole_err err = alloc_hosts(out);

    for (int rank = 0; rank < out->size && !err; rank++) {
        size_t length = strnlen(all[rank], sizeof all[rank]);
        if (length == 0)
            return dhole__fail(DHOLE_ERR_PEER_LOST, "rank %d has no place to listen", rank);
        if (length == sizeof all[rank] || !dhole__rendezvous_is_address(all[rank], length))
            return dhole__fail(DHOLE_ERR_PROTOCOL, "all_gather gave no address for rank %d", rank);
        err = set_host(out, rank, all[rank], length);
    }
    return err;
}

dhole_err dhole__rendezvous_gather(const dhole_options *options, struct dhole__rendezvous *out)
{
    struct dhole__rendezvous rendezvous = {.size = options->size, .listen_fd = -1};
    gathered *all = dhole__sys.calloc((size_t)options->size, sizeof *all), own = "";
    char why[dhole__message_max];
    int failed;
    dhole_err err;

    if (all == NULL)
        return dhole__fail_nomem((size_t)options->size * sizeof *all, "finding the other ranks");
    for (int i = 0; i < dhole__rails_max - 1; i++)
        rendezvous.other_fds[i] = -1;
    err = listen_at_own(options, &rendezvous, own);
    dhole__message_save(why);
    failed = options->all_gather(options->all_gather_arg, own, all, sizeof own);
    if (err)
        err = dhole__fail(err, "%s", why);
    else if (failed)
        err = dhole__fail(DHOLE_ERR_SYSTEM, "the program's all_gather failed with %d", failed);
    else
        err = take_gathered(all, &rendezvous);
    free(all);
    if (err)
        dhole__rendezvous_close(&rendezvous);
    else
        *out = rendezvous;
    return err;
}

void dhole__rendezvous_close(struct dhole__rendezvous *rendezvous)
{
    if (rendezvous->size == 0)
        return;
    for (int i = 0; rendezvous->hosts != NULL && i < rendezvous->size; i++)
        free(rendezvous->hosts[i]);
    free(rendezvous->hosts);
    if (rendezvous->listen_fd >= 0)
        close(rendezvous->listen_fd);
    for (int i = 0; i < rendezvous->others; i++)
        close(rendezvous->other_fds[i]);
    *rendezvous = (struct dhole__rendezvous){0};
}
