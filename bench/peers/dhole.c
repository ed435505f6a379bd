/* libdhole, through its public API. */
#include <arpa/inet.h>
#include <dhole/group.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "loop.h"

enum { ranks_max = 64 };

struct driver {
    struct loop loop;
    dhole_group *group;
    int rank;
    size_t count;
    dhole_dtype type;
};

static void must(dhole_err err)
{
    if (err) {
        fprintf(stderr, "%s\n", dhole_error_message());
        exit(1);
    }
}

static void all_sum(void *state)
{
    struct driver *d = state;

    must(dhole_all_sum(d->group, d->loop.in, d->loop.out, d->count, d->type));
}

static void ping_pong(void *state)
{
    struct driver *d = state;

    if (d->rank == 0)
        must(dhole_send(d->group, d->loop.in, d->count, d->type, 1));
    must(dhole_recv(d->group, d->loop.out, d->count, d->type, 1 - d->rank));
    if (d->rank == 1)
        must(dhole_send(d->group, d->loop.in, d->count, d->type, 0));
}

static double processor_seconds(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

/* What it costs the others, in processor time of all their threads, that rank 0 comes a second
 * late. */
static void late(struct driver *d)
{
    for (long i = 0; i < d->loop.calls; i++) {
        double before;
        must(dhole_barrier(d->group));
        before = processor_seconds();
        if (d->rank == 0)
            sleep(1);
        all_sum(d);
        d->loop.seconds[i] = d->rank == 0 ? 0 : processor_seconds() - before;
    }
}

static int listen_locally(char *host, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 ||
        listen(fd, ranks_max) != 0 || getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        loop_die("cannot listen on 127.0.0.1");
    snprintf(host, size, "127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

/* Starts the ranks and joins them. */
static void start(struct driver *d)
{
    char host[ranks_max][32], session[32];
    const char *hosts[ranks_max];
    int listener[ranks_max];
    dhole_options options = DHOLE_OPTIONS_INIT;

    snprintf(session, sizeof session, "compare %d", (int)getpid());
    for (int r = 0; r < d->loop.ranks; r++) {
        listener[r] = listen_locally(host[r], sizeof host[r]);
        hosts[r] = host[r];
    }
    d->rank = loop_fork(&d->loop);
    options.backend = d->loop.transport;
    options.rank = d->rank;
    options.size = d->loop.ranks;
    options.hosts = hosts;
    options.listen_fd = listener[d->rank];
    options.session = session;
    must(dhole_init(&options, &d->group));
    for (int r = 0; r < d->loop.ranks; r++)
        close(listener[r]);
}

int main(int argc, char **argv)
{
    struct driver d = {.loop = loop_arguments(argc, argv)};

    if (d.loop.ranks < 1 || d.loop.ranks > ranks_max) {
        fprintf(stderr, "%d ranks: expected 1 to %d\n", d.loop.ranks, ranks_max);
        return 2;
    }
    d.type = strcmp(d.loop.type, "bf16") == 0 ? DHOLE_BF16 : DHOLE_F32;
    d.count = d.loop.bytes / dhole_dtype_size(d.type);
    start(&d);
    loop_buffers(&d.loop, d.rank);
    if (loop_is(&d.loop, "late")) {
        late(&d);
    } else {
        loop_run(&d.loop, loop_is(&d.loop, "send") ? ping_pong : all_sum, &d);
        loop_check(&d.loop, d.rank);
    }
    dhole_group_free(d.group);
    loop_write(&d.loop, d.rank);
    loop_join(&d.loop, d.rank);
    return 0;
}
