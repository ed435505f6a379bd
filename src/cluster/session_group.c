/* The group of an epoch's ranks. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/pipe.h"
#include "cluster/session.h"

enum { default_ms = 30000 };

/* What dhole_init gives back to gather_hosts. */
struct gathering {
    dhole_cluster *s;
    dhole__deadline deadline;
    dhole_err err;
    char why[dhole__message_max];
};

static int gather_hosts(void *arg, const void *own, void *all, size_t size)
{
    struct gathering *g = arg;
    uint32_t round;

    g->err = dhole__session_gather(g->s, own, all, size, g->deadline, &round);
    dhole__message_save(g->why);
    if (!g->err)
        dhole__session_name_hosts(g->s, all, size);
    return g->err;
}

/* Readable when the epoch is over, or the caller or the session is cancelled. */
struct alarm {
    int pipe[2], watch;
};

static dhole_err alarm_open(dhole_cluster *s, int cancel_fd, struct alarm *out)
{
    dhole_err err = dhole__pipe_open(out->pipe, 0);
    int fds[3], n = 0;

    if (err)
        return err;
    fds[n++] = out->pipe[0];
    if (cancel_fd >= 0)
        fds[n++] = cancel_fd;
    if (s->cancel_fd >= 0 && s->cancel_fd != cancel_fd)
        fds[n++] = s->cancel_fd;
    out->watch = dhole__watch_make(fds, n);
    if (out->watch < 0) {
        dhole__pipe_close(out->pipe);
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot watch while making a group");
    }
    pthread_mutex_lock(&s->lock);
    s->group_pipe = out->pipe[1];
    pthread_mutex_unlock(&s->lock);
    return DHOLE_OK;
}

static void alarm_close(dhole_cluster *s, struct alarm *alarm)
{
    pthread_mutex_lock(&s->lock);
    s->group_pipe = -1;
    pthread_mutex_unlock(&s->lock);
    close(alarm->watch);
    dhole__pipe_close(alarm->pipe);
}

/* How many ranks the session's devices are to lead to; 0: none, or `base` names others. */
static int peers_by_devices(const dhole_options *base, int size)
{
    bool ring;

    if (base == NULL || base->devices != NULL || base->backend == NULL)
        return 0;
    ring = strcmp(base->backend, "jaccl-ring") == 0;
    if (!ring && strcmp(base->backend, "jaccl") != 0)
        return 0;
    return (ring || base->ring) && size > 3 ? 2 : size - 1;
}

/* Fails where this machine has none, before anybody waits for it. */
static dhole_err find_devices(dhole_cluster *s, const dhole_options *base,
                              char out[static dhole__devices_list_max])
{
    int peers = peers_by_devices(base, dhole_cluster_size(s));

    out[0] = '\0';
    return peers > 0 ? dhole__session_devices(s->devices, peers, out) : DHOLE_OK;
}

/* The options that the roster gives. */
struct plan {
    char session[dhole__session_id_size + 32], host[dhole__dial_size];
    const char *hosts[dhole__rank_max];
    dhole_pin pins[dhole__rank_max];
    char device_list[dhole__devices_list_max];
    const char *devices[dhole__rank_max];
    dhole_options options;
    uint64_t life;
};

static void make_plan(dhole_cluster *s, const dhole_options *base, uint32_t round,
                      struct plan *plan)
{
    dhole_options own = DHOLE_OPTIONS_INIT;

    plan->options = base != NULL ? *base : own;
    pthread_mutex_lock(&s->lock);
    snprintf(plan->session, sizeof plan->session, "%s/%llu/%u", s->roster.session,
             (unsigned long long)s->roster.epoch, round);
    dhole__session_own_host(s, plan->host, sizeof plan->host);
    for (int rank = 0; rank < s->size; rank++)
        plan->pins[rank] = s->roster.who[rank].pin;
    plan->options.rank = s->rank;
    plan->life = s->lives;
    plan->options.size = s->size;
    pthread_mutex_unlock(&s->lock);
    plan->hosts[plan->options.rank] = plan->host;
    plan->options.hosts = plan->hosts;
    plan->options.listen_fd = -1;
    plan->options.session = plan->session;
    plan->options.identity = s->identity;
    plan->options.pins = plan->pins;
    for (int rank = 0; rank < plan->options.size; rank++)
        plan->devices[rank] = rank != plan->options.rank ? plan->device_list : NULL;
    if (plan->device_list[0] != '\0')
        plan->options.devices = plan->devices;
}

/* A rank that cannot make its group leaves, as a rule: the others learn why. */
static void keep_for_parting(dhole_cluster *s, const char *why)
{
    pthread_mutex_lock(&s->lock);
    snprintf(s->parting, sizeof s->parting, "%.*s", (int)sizeof s->parting - 1, why);
    pthread_mutex_unlock(&s->lock);
}

/* What went wrong underneath, or the end of the epoch, is the cause. */
static dhole_err explain(dhole_cluster *s, const struct gathering *g, dhole_err err)
{
    char why[dhole__message_max];
    dhole_err over;

    dhole__message_save(why);
    pthread_mutex_lock(&s->lock);
    over = dhole__session_check(s);
    pthread_mutex_unlock(&s->lock);
    if (over)
        return over;
    if (g->err)
        return dhole__fail(g->err, "%s", g->why);
    if (err != DHOLE_ERR_CANCELLED)
        keep_for_parting(s, why);
    return dhole__fail(err, "%s", why);
}

dhole_err dhole_cluster_group(dhole_cluster *s, const dhole_options *base, dhole_group **out)
{
    int64_t timeout_ms =
        base != NULL && base->connect_timeout_ms > 0 ? base->connect_timeout_ms : default_ms;
    struct plan plan = {.session = ""};
    struct gathering g = {.s = s, .deadline = dhole__deadline_in(timeout_ms)};
    struct alarm alarm;
    dhole_group *group;
    uint32_t round;
    dhole_err err = find_devices(s, base, plan.device_list);

    err = dhole__session_agree(s, err, g.deadline, &round);
    if (err)
        return dhole__fail_in(err, "cannot make a group");
    err = alarm_open(s, base != NULL ? base->cancel_fd : -1, &alarm);
    if (err)
        return err;
    make_plan(s, base, round, &plan);
    plan.options.all_gather = gather_hosts;
    plan.options.all_gather_arg = &g;
    plan.options.cancel_fd = alarm.watch;
    err = dhole_init(&plan.options, &group);
    alarm_close(s, &alarm);
    if (err)
        return explain(s, &g, err);
    err = dhole__knot_tie(s->knot, plan.life, group);
    if (err)
        dhole_group_free(group);
    else
        *out = group;
    keep_for_parting(s, "");
    return err;
}
