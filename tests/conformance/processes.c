#include "processes.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { patience_ms = 20000 };

static int64_t patience(void)
{
    return now_ms() + patient(patience_ms);
}

static void tick(void)
{
    struct timespec t = {0, 1000000};

    nanosleep(&t, NULL);
}

static void *share(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ASSERT(p != MAP_FAILED);
    return p;
}

void processes_start(struct processes *all, const struct backend *backend, int size,
                     process_body *body)
{
    world_open(&all->world, backend, size);
    all->report = share((size_t)size * sizeof *all->report);
    all->stop = share(sizeof *all->stop);
    fflush(NULL);
    for (int rank = 0; rank < size; rank++) {
        pid_t pid = fork();
        ASSERT(pid >= 0);
        if (pid == 0) {
            body(all, rank);
            world_close(&all->world);
            exit(0); /* not _exit: leak checkers report here */
        }
        all->report[rank].pid = pid;
    }
}

void report_end(struct processes *all, int rank, dhole_err err)
{
    struct report *report = &all->report[rank];

    report->end_ms = now_ms();
    report->err = err;
    snprintf(report->message, sizeof report->message, "%s", err ? dhole_error_message() : "");
    atomic_store(&report->ended, 1);
}

void wait_rounds(struct processes *all, int rank, int rounds)
{
    struct report *report = &all->report[rank];

    for (int64_t end = patience(); atomic_load(&report->rounds) < rounds; tick()) {
        ASSERT_MSG(!atomic_load(&report->ended), "rank %d ended after %d rounds: %s", rank,
                   atomic_load(&report->rounds), report->message);
        ASSERT_MSG(now_ms() < end, "rank %d did not get to round %d", rank, rounds);
    }
}

void wait_report(struct processes *all, int rank)
{
    for (int64_t end = patience(); !atomic_load(&all->report[rank].ended); tick())
        ASSERT_MSG(now_ms() < end, "rank %d did not end", rank);
}

void process_reap(struct processes *all, int rank, int signal)
{
    int64_t end = patience();
    int status;
    pid_t done;

    while ((done = waitpid(all->report[rank].pid, &status, WNOHANG)) == 0) {
        ASSERT_MSG(now_ms() < end, "the process of rank %d did not end", rank);
        tick();
    }
    ASSERT(done == all->report[rank].pid);
    ASSERT_MSG((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
                   (WIFSIGNALED(status) && WTERMSIG(status) == signal),
               "rank %d ended with status %#x", rank, (unsigned)status);
}

void processes_close(struct processes *all)
{
    munmap(all->report, (size_t)all->world.size * sizeof *all->report);
    munmap(all->stop, sizeof *all->stop);
    world_close(&all->world);
}
