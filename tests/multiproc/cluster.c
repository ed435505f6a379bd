/* Sessions of real processes, which are killed, stopped and started again. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "party.h"

enum { machines = 3, warm_rounds = 10, closed_ms = 1000, silent_ms = 5000 };

/* What a machine tells the test. */
struct board {
    pid_t pid;
    atomic_int epoch;           /* that it is in */
    atomic_int rounds;          /* sums in that epoch's group */
    atomic_int failures;        /* of sums, since the process began */
    atomic_int refused;         /* groups that could not be made */
    atomic_int state[machines]; /* of its peers, by rank, when it last looked */
    char why[machines][256];
    char message[1024]; /* of the last failure */
    atomic_int ended;
    dhole_err err; /* of the session's beginning, or end */
};

struct stage {
    struct party party;
    struct board *board; /* [machines], shared */
    atomic_int *stop, *idle;
};

static void look(struct board *board, dhole_cluster *cluster)
{
    for (int rank = 0; rank < machines; rank++) {
        dhole_peer peer;
        if (rank == dhole_cluster_rank(cluster))
            continue;
        dhole_cluster_peer(cluster, rank, &peer);
        memcpy(board->why[rank], peer.why, sizeof peer.why);
        atomic_store(&board->state[rank], (int)peer.state);
    }
}

static void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* Sums until the group breaks or the test says stop or idle, which all hear in the same round.
 * True: stop. */
static bool sum_on(struct stage *stage, struct board *board, dhole_group *group)
{
    int32_t in[3] = {1}, sum[3];
    dhole_err err;

    do {
        in[1] = atomic_load(stage->stop);
        in[2] = atomic_load(stage->idle);
        err = dhole_all_sum(group, in, sum, 3, DHOLE_I32);
        ASSERT(err != DHOLE_OK || sum[0] == machines);
        atomic_fetch_add(&board->rounds, 1);
    } while (err == DHOLE_OK && sum[1] + sum[2] == 0);
    if (err == DHOLE_OK)
        return sum[1] > 0;
    snprintf(board->message, sizeof board->message, "%s", dhole_error_message());
    ASSERT_MSG(err == DHOLE_ERR_PEER_LOST, "%s", board->message);
    atomic_fetch_add(&board->failures, 1);
    return false;
}

static bool work(struct stage *stage, struct board *board, dhole_cluster *cluster)
{
    dhole_group *group;
    bool stop;

    atomic_store(&board->rounds, 0);
    atomic_store(&board->epoch, (int)dhole_cluster_epoch(cluster));
    if (atomic_load(stage->idle)) {
        look(board, cluster);
        sleep_ms(2);
        return false;
    }
    if (dhole_cluster_group(cluster, NULL, &group) != DHOLE_OK) {
        snprintf(board->message, sizeof board->message, "%s", dhole_error_message());
        atomic_fetch_add(&board->refused, 1);
        return false;
    }
    stop = sum_on(stage, board, group);
    dhole_group_free(group);
    return stop;
}

/* A process's life. */
static void live(struct stage *stage, int machine)
{
    dhole_cluster_options options = party_options(&stage->party, machine);
    struct board *board = &stage->board[machine];
    dhole_cluster *cluster = NULL;
    dhole_err err = machine == 0 ? dhole_cluster_listen(&options, &cluster)
                                 : dhole_cluster_join(&options, &cluster);

    snprintf(board->message, sizeof board->message, "%s", dhole_error_message());
    while (err == DHOLE_OK && !work(stage, board, cluster))
        do {
            look(board, cluster);
            err = dhole_cluster_wait(cluster, 10);
        } while (err == DHOLE_ERR_TIMEOUT);
    dhole_cluster_free(cluster);
    board->err = err;
    atomic_store(&board->ended, 1);
}

static void start(struct stage *stage, int machine)
{
    struct board *board = &stage->board[machine];
    pid_t pid;

    memset(board, 0, sizeof *board);
    fflush(NULL);
    pid = fork();
    ASSERT(pid >= 0);
    if (pid == 0) {
        live(stage, machine);
        party_free(&stage->party);
        exit(0);
    }
    board->pid = pid;
}

static void *share(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ASSERT(p != MAP_FAILED);
    return p;
}

static void stage_make(struct stage *stage)
{
    party_make(&stage->party, machines);
    stage->party.base.reconnect_ms = 500;
    stage->board = share(machines * sizeof *stage->board);
    stage->stop = share(sizeof *stage->stop);
    stage->idle = share(sizeof *stage->idle);
    for (int i = 0; i < machines; i++)
        start(stage, i);
}

static void reap(struct stage *stage, int machine, int by)
{
    int status;
    int64_t until = now_ms() + patient(20000);
    pid_t pid = stage->board[machine].pid;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        ASSERT_MSG(now_ms() < until, "m%d did not end", machine);
        sleep_ms(1);
    }
    if (by != 0)
        ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == by);
    else
        ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void stage_end(struct stage *stage)
{
    atomic_store(stage->stop, 1);
    for (int i = 0; i < machines; i++) {
        reap(stage, i, 0);
        ASSERT_MSG(stage->board[i].err == DHOLE_OK, "m%d: %s", i, stage->board[i].message);
    }
    party_free(&stage->party);
}

/* Until all have summed together for a while in that epoch or a later one. */
static void await_rounds(struct stage *stage, int epoch)
{
    int64_t until = now_ms() + patient(20000);

    for (int i = 0; i < machines; i++) {
        struct board *board = &stage->board[i];
        while (atomic_load(&board->epoch) < epoch || atomic_load(&board->rounds) < warm_rounds) {
            ASSERT_MSG(!atomic_load(&board->ended), "m%d ended: %s", i, board->message);
            ASSERT_MSG(now_ms() < until, "m%d is in epoch %d after %d rounds (%s)", i,
                       atomic_load(&board->epoch), atomic_load(&board->rounds), board->message);
            sleep_ms(1);
        }
    }
}

/* The others see that one is gone, within so long. */
static void await_loss(struct stage *stage, int victim, int64_t bound_ms)
{
    int64_t begin = now_ms();

    for (int i = 0; i < machines; i++) {
        struct board *board = &stage->board[i];
        while (i != victim && atomic_load(&board->state[victim]) != DHOLE_PEER_UNAVAILABLE) {
            ASSERT_MSG(now_ms() - begin < patient(bound_ms), "m%d has not missed m%d for %lld ms",
                       i, victim, (long long)(now_ms() - begin));
            sleep_ms(1);
        }
    }
}

/* The request that was in flight failed, and no other one since. */
static void check_failures(struct stage *stage, int but, int count)
{
    for (int i = 0; i < machines; i++) {
        const struct board *board = &stage->board[i];
        if (i == but)
            continue;
        ASSERT_MSG(atomic_load(&board->failures) == count && atomic_load(&board->refused) == 0,
                   "m%d: %d sums failed, expected %d; %d groups: %s", i,
                   atomic_load(&board->failures), count, atomic_load(&board->refused),
                   board->message);
    }
}

TEST_LIMIT(a_killed_rank_is_missed_at_once_and_heals_when_started_again, 120)
{
    struct stage stage;

    stage_make(&stage);
    await_rounds(&stage, 1);
    kill(stage.board[2].pid, SIGKILL);
    await_loss(&stage, 2, closed_ms);
    reap(&stage, 2, SIGKILL);
    start(&stage, 2);
    await_rounds(&stage, 2);
    check_failures(&stage, 2, 1);
    for (int i = 0; i < machines; i++)
        ASSERT_EQ(atomic_load(&stage.board[i].epoch), 2);
    stage_end(&stage);
}

TEST_LIMIT(a_killed_coordinator_is_missed_and_heals_when_started_again, 120)
{
    struct stage stage;

    stage_make(&stage);
    await_rounds(&stage, 1);
    kill(stage.board[0].pid, SIGKILL);
    await_loss(&stage, 0, closed_ms);
    reap(&stage, 0, SIGKILL);
    start(&stage, 0);
    await_rounds(&stage, 2);
    check_failures(&stage, 0, 1);
    stage_end(&stage);
}

TEST_LIMIT(a_stopped_rank_is_missed_within_five_seconds_and_heals_when_it_goes_on, 120)
{
    struct stage stage;

    stage_make(&stage);
    await_rounds(&stage, 1);
    kill(stage.board[1].pid, SIGSTOP);
    await_loss(&stage, 1, silent_ms);
    kill(stage.board[1].pid, SIGCONT);
    await_rounds(&stage, 2);
    check_failures(&stage, -1, 1);
    stage_end(&stage);
}

TEST_LIMIT(a_rank_that_stops_while_nothing_happens_is_missed_within_five_seconds, 120)
{
    struct stage stage;

    stage_make(&stage);
    await_rounds(&stage, 1);
    atomic_store(stage.idle, 1);
    for (int i = 0; i < machines; i++)
        while (atomic_load(&stage.board[i].rounds) > 0)
            sleep_ms(1);
    kill(stage.board[2].pid, SIGSTOP);
    await_loss(&stage, 2, silent_ms);
    atomic_store(stage.idle, 0);
    kill(stage.board[2].pid, SIGCONT);
    stage_end(&stage);
}

TEST_LIMIT(another_key_is_refused_and_the_right_one_is_taken_again, 120)
{
    struct stage stage;
    dhole_identity *right;
    dhole_pin pin;
    char key[DHOLE_FINGERPRINT_SIZE];

    stage_make(&stage);
    await_rounds(&stage, 1);
    kill(stage.board[1].pid, SIGKILL);
    reap(&stage, 1, SIGKILL);
    right = stage.party.identity[1];
    ASSERT_OK(dhole_identity_generate(&stage.party.identity[1]));
    dhole_identity_pin(stage.party.identity[1], &pin);
    dhole_fingerprint(&pin, key);
    start(&stage, 1);
    reap(&stage, 1, 0);
    ASSERT_EQ(stage.board[1].err, DHOLE_ERR_AUTH);
    await_loss(&stage, 1, closed_ms);
    for (int64_t until = now_ms() + patient(5000); strstr(stage.board[0].why[1], key) == NULL;) {
        ASSERT_MSG(now_ms() < until, "it says: %s", stage.board[0].why[1]);
        sleep_ms(1);
    }
    dhole_identity_free(stage.party.identity[1]);
    stage.party.identity[1] = right;
    start(&stage, 1);
    await_rounds(&stage, 2);
    stage_end(&stage);
}
