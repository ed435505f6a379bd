/* Those who are left of a broken group agree on who they are, over the control connections that
 * they still have, each of which the watchers keep alive (liveness.h, roll.h). A rank goes through
 * rounds, in each of which it says
 *
 *   COMES      where it listens now; then it waits until all have come who are not gone, or until
 *              it has waited for long enough for those who neither come nor go;
 *   BUILDS     with whom; who has said nothing so far takes over what others say. The session
 *              names round and members, so ranks that differ do not meet;
 *   HAS_BUILT  it is connected to all of them;
 *   HAS_AGREED it has heard HAS_BUILT of all, or HAS_AGREED of one, and leaves with the new group.
 *
 * A member that is lost on the way, or that starts the next round, sends all others into the next
 * round too. Each keeps what it has built until the others have come to that round: until then one
 * of them may have agreed, which it says before it leaves, and then all do. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pipe.h"
#include "group/call.h"
#include "group/liveness.h"
#include "group/regroup.h"
#include "group/settings.h"

struct shrink {
    dhole_group *group;
    struct dhole__liveness *live;
    struct dhole__roll *roll;
    int bell[2];
    dhole__deadline deadline;
    dhole__deadline patience; /* for ranks that neither come nor go */
    struct dhole__door door;
    struct dhole__stance own, stance[dhole__rank_max]; /* as of the last look */
    uint64_t gone, excluded;
    dhole_group *built; /* in round built_round, with built_members */
    uint32_t built_round;
    uint64_t built_members;
};

/* What is next. */
enum step { COME, GATHER, BUILD, AGREE, LEAVE };

static uint64_t bit(int rank)
{
    return (uint64_t)1 << rank;
}

static void say(struct shrink *s, enum dhole__phase phase)
{
    s->own.phase = phase;
    dhole__liveness_say(s->live, &s->own);
}

static void drain(const struct shrink *s)
{
    char bytes[64];

    while (read(s->bell[0], bytes, sizeof bytes) > 0)
        ;
}

static void look(struct shrink *s)
{
    drain(s);
    dhole__roll_look(s->roll, s->stance, &s->gone);
    for (int rank = 0; rank < s->group->size; rank++)
        if (s->stance[rank].phase != DHOLE__COMES)
            s->excluded |= ~s->stance[rank].members;
}

/* Until something has changed since the last look; at most until then. */
static dhole_err wait_until(struct shrink *s, dhole__deadline until)
{
    struct pollfd pfd = {.fd = s->bell[0], .events = POLLIN};
    dhole_err err;

    if (dhole__now() >= s->deadline)
        return dhole__fail(DHOLE_ERR_TIMEOUT, "the ranks that are left did not agree in time");
    err = dhole__io_poll(&pfd, 1, dhole__deadline_min(until, s->deadline));
    return err == DHOLE_ERR_TIMEOUT ? DHOLE_OK : err;
}

static void close_built(struct shrink *s)
{
    dhole_group_free(s->built);
    s->built = NULL;
}

/* A member of what this rank has built in that round has left with it. */
static bool has_agreed(const struct shrink *s)
{
    for (int rank = 0; rank < s->group->size; rank++)
        if (s->built != NULL && (s->built_members & bit(rank)) &&
            s->stance[rank].round == s->built_round && s->stance[rank].phase == DHOLE__HAS_AGREED)
            return true;
    return false;
}

/* A new round, later than all that were heard of. */
static dhole_err come(struct shrink *s, enum step *next)
{
    uint32_t latest = s->own.round + 1;
    dhole_err err;

    look(s);
    for (int rank = 0; rank < s->group->size; rank++)
        if (s->stance[rank].round > latest && !(s->gone & bit(rank)))
            latest = s->stance[rank].round;
    dhole__door_close(&s->door);
    err = dhole__door_open(s->group, &s->door);
    if (err)
        return err;
    s->own = (struct dhole__stance){
        .round = latest, .nonce = dhole__regroup_nonce(s->group), .port_count = s->door.count};
    for (int i = 0; i < s->door.count; i++)
        s->own.port[i] = s->door.port[i];
    s->patience = dhole__deadline_min(
        s->deadline, dhole__now() > s->patience
                         ? dhole__deadline_in(s->group->settings->options.silence_ms)
                         : s->patience);
    say(s, DHOLE__COMES);
    *next = GATHER;
    return DHOLE_OK;
}

/* The members that another rank has named in this round; 0: none has. */
static uint64_t named_members(const struct shrink *s)
{
    for (int rank = 0; rank < s->group->size; rank++)
        if (s->stance[rank].round == s->own.round && s->stance[rank].phase != DHOLE__COMES)
            return s->stance[rank].members;
    return 0;
}

static dhole_err gather(struct shrink *s, enum step *next)
{
    uint64_t all = s->group->size == 64 ? UINT64_MAX : bit(s->group->size) - 1;
    uint64_t expected, came = 0, named;
    bool later = false;

    dhole__roll_set_bell(s->roll, s->bell[1], 0, 0);
    look(s);
    if (has_agreed(s)) {
        *next = LEAVE;
        return DHOLE_OK;
    }
    if (s->excluded & bit(s->group->rank))
        return dhole__fail(DHOLE_ERR_PEER_LOST,
                           "the other ranks have gone on without rank %d, which came too late",
                           s->group->rank);
    expected = all & ~s->gone & ~s->excluded;
    for (int rank = 0; rank < s->group->size; rank++) {
        came |= s->stance[rank].round == s->own.round ? bit(rank) : 0;
        later |= (expected & bit(rank)) && s->stance[rank].round > s->own.round;
    }
    named = named_members(s) & all;
    if (later || (named & s->gone)) {
        *next = COME;
    } else if (named != 0 ? (named & ~came) == 0
                          : (expected & ~came) == 0 || dhole__now() >= s->patience) {
        s->own.members = named != 0 ? named : expected & came;
        *next = BUILD;
    } else {
        return wait_until(s, s->patience);
    }
    return DHOLE_OK;
}

static dhole_err join_members(struct shrink *s, dhole_group **out)
{
    struct dhole__member member[dhole__rank_max];
    int size = 0, own = 0, lowest = s->group->rank; /* this rank is one of them */
    char name[64];

    for (int rank = 0; rank < s->group->size; rank++) {
        const struct dhole__stance *stance = &s->stance[rank];
        if (!(s->own.members & bit(rank)))
            continue;
        if (rank == s->group->rank)
            own = size;
        if (rank < lowest)
            lowest = rank;
        member[size] = (struct dhole__member){.rank = rank, .port_count = stance->port_count};
        for (int i = 0; i < stance->port_count; i++)
            member[size].port[i] = stance->port[i];
        size++;
    }
    snprintf(name, sizeof name, "/shrink %u %llx %08x", s->own.round,
             (unsigned long long)s->own.members, (uint32_t)s->stance[lowest].nonce);
    return dhole__regroup(s->group, member, size, own, name, &s->door, s->bell[0], s->deadline,
                          out);
}

/* What goes wrong here concerns one of the others, and the next round shows which, or it is this
 * rank's own trouble, and its end. */
static dhole_err build(struct shrink *s, enum step *next)
{
    dhole_err err;

    close_built(s);
    drain(s);
    dhole__roll_set_bell(s->roll, s->bell[1], s->own.members & ~bit(s->group->rank), s->own.round);
    say(s, DHOLE__BUILDS);
    err = join_members(s, &s->built);
    if (err == DHOLE_OK) {
        s->built_round = s->own.round;
        s->built_members = s->own.members;
        say(s, DHOLE__HAS_BUILT);
        *next = AGREE;
        return DHOLE_OK;
    }
    if (err == DHOLE_ERR_NOMEM || err == DHOLE_ERR_SYSTEM || dhole__now() >= s->deadline)
        return err;
    dhole__log(DHOLE__LOG_INFO, "rank %d: shrinking, round %u: %s", s->group->rank, s->own.round,
               dhole_error_message());
    *next = COME;
    return DHOLE_OK;
}

static dhole_err agree(struct shrink *s, enum step *next)
{
    bool all = true, over = false;

    dhole__roll_set_bell(s->roll, s->bell[1], 0, 0);
    look(s);
    for (int rank = 0; rank < s->group->size; rank++) {
        const struct dhole__stance *stance = &s->stance[rank];
        bool has_built = stance->round == s->built_round && stance->phase >= DHOLE__HAS_BUILT;
        if (!(s->built_members & bit(rank)) || has_built)
            continue;
        all = false;
        over |= (s->gone & bit(rank)) || stance->round > s->built_round;
    }
    if (all || has_agreed(s))
        *next = LEAVE;
    else if (over)
        *next = COME;
    else
        return wait_until(s, s->deadline);
    return DHOLE_OK;
}

static dhole_err run(struct shrink *s)
{
    enum step step = COME;
    dhole_err err = DHOLE_OK;

    while (step != LEAVE && err == DHOLE_OK) {
        switch (step) {
        case COME: err = come(s, &step); break;
        case GATHER: err = gather(s, &step); break;
        case BUILD: err = build(s, &step); break;
        case AGREE: err = agree(s, &step); break;
        case LEAVE: break;
        }
    }
    if (err)
        return err;
    s->own.round = s->built_round;
    s->own.members = s->built_members;
    say(s, DHOLE__HAS_AGREED);
    return DHOLE_OK;
}

static dhole_err check_broken(dhole_group *group, struct dhole__liveness *live)
{
    dhole_err err = dhole__group_check(group);

    if (err == DHOLE_OK)
        return dhole__fail(DHOLE_ERR_INVALID, "the group is not broken");
    if (err == DHOLE_ERR_PEER_LOST && dhole__liveness_culprit(live) == group->rank)
        return dhole__fail_in(err, "the other ranks have given this one up");
    return DHOLE_OK;
}

dhole_err dhole_shrink(dhole_group *group, dhole_group **out)
{
    struct dhole__liveness *live = group->backend->liveness(group);
    int64_t time_ms = group->settings->options.connect_timeout_ms;
    struct shrink s = {.group = group, .live = live, .roll = dhole__liveness_roll(live)};
    dhole_err err = check_broken(group, live);

    if (err)
        return err;
    err = dhole__pipe_open(s.bell, O_NONBLOCK);
    if (err)
        return err;
    s.deadline = dhole__deadline_in(time_ms);
    s.patience = dhole__deadline_in(time_ms - time_ms / 3);
    err = run(&s);
    dhole__roll_set_bell(s.roll, -1, 0, 0);
    dhole__door_close(&s.door);
    if (err)
        close_built(&s);
    else
        *out = s.built;
    dhole__pipe_close(s.bell);
    return err ? dhole__fail_in(err, "cannot shrink the group") : DHOLE_OK;
}
