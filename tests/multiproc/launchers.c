/* One program, started by the launchers of others. */
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

extern char **environ;

enum { output_max = 8192 };

static char output[output_max];

static void clear_environment(void)
{
    static char *nothing[] = {NULL};
    const char *path = getenv("PATH");
    static char kept[4096];

    snprintf(kept, sizeof kept, "%s:/usr/sbin", path != NULL ? path : "/usr/bin:/bin");
    environ = nothing;
    setenv("PATH", kept, 1);
    setenv("TMPDIR", test_dir(), 1);
}

static int run(const char *command)
{
    FILE *pipe = popen(command, "r");
    size_t n;

    ASSERT(pipe != NULL);
    n = fread(output, 1, sizeof output - 1, pipe);
    output[n] = '\0';
    return pclose(pipe);
}

static bool is_installed(const char *program)
{
    char command[128];

    snprintf(command, sizeof command, "command -v %s", program);
    return run(command) == 0;
}

static void need(const char *program)
{
    static char why[128];

    clear_environment();
    snprintf(why, sizeof why, "%s is not installed", program);
    if (!is_installed(program))
        test_skip(why);
}

static void expect_sums(const char *command, int size)
{
    int status = run(command);

    ASSERT_MSG(status == 0, "%s: status %#x: %s", command, (unsigned)status, output);
    for (int rank = 0; rank < size; rank++) {
        char line[64];
        snprintf(line, sizeof line, "rank %d of %d: %d\n", rank, size, size * (size + 1) / 2);
        ASSERT_CONTAINS(output, line);
    }
}

/* Two jobs of two ranks each, whose output is mixed. */
static void expect_two_jobs(const char *command)
{
    int lines = 0;

    expect_sums(command, 2);
    for (const char *c = output; *c != '\0'; c++)
        lines += *c == '\n';
    ASSERT_MSG(lines == 4, "expected four sums: %s", output);
}

/* The sockets at which the ranks met are gone. */
static void expect_nothing_left(void)
{
    run("find \"$TMPDIR\"/dhole-* -type s");
    ASSERT_STR(output, "");
}

static const char *openmpi(const char *arguments)
{
    static char command[1024];

    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    snprintf(command, sizeof command, "mpirun.openmpi --oversubscribe %s 2>&1", arguments);
    return command;
}

TEST(open_mpi_s_mpirun_starts_a_group)
{
    need("mpirun.openmpi");
    expect_sums(openmpi("-n 1 " SAY_SUM), 1);
    expect_sums(openmpi("-n 3 " SAY_SUM), 3);
    expect_sums(openmpi("-n 1 " SAY_SUM " : -n 2 sh -c '" SAY_SUM "; exit $?'"), 3);
    expect_nothing_left();
}

TEST(open_mpi_s_jobs_do_not_meet_each_other)
{
    char command[2048];

    need("mpirun.openmpi");
    snprintf(command, sizeof command, "%s & ", openmpi("-n 2 " SAY_SUM));
    strcat(command, openmpi("-n 2 " SAY_SUM));
    strcat(command, "; wait $!");
    expect_two_jobs(command);
    expect_nothing_left();
}

TEST(open_mpi_s_ranks_meet_at_a_coordinator_that_is_given)
{
    char command[512];

    need("mpirun.openmpi");
    snprintf(command, sizeof command, "-x DHOLE_COORDINATOR=127.0.0.1:%d -n 3 %s",
             free_port("127.0.0.1"), SAY_SUM);
    expect_sums(openmpi(command), 3);
}

/* Input that does not end: mpiexec dies of a broken pipe when its input ends just after the
 * program. */
#define MPIEXEC "<&9 mpiexec.mpich "

static void need_mpich(void)
{
    int ends[2];

    need("mpiexec.mpich");
    ASSERT(pipe(ends) == 0 && dup2(ends[0], 9) == 9);
}

TEST(mpich_s_mpiexec_starts_a_group)
{
    need_mpich();
    expect_sums(MPIEXEC "-n 1 " SAY_SUM " 2>&1", 1);
    expect_sums(MPIEXEC "-n 3 " SAY_SUM " 2>&1", 3);
    expect_sums(MPIEXEC "-n 1 " SAY_SUM " : -n 2 sh -c '" SAY_SUM "; exit $?' 2>&1", 3);
    expect_nothing_left();
}

TEST(mpich_s_jobs_do_not_meet_each_other)
{
    need_mpich();
    expect_two_jobs(MPIEXEC "-n 2 " SAY_SUM " 2>&1 & " MPIEXEC "-n 2 " SAY_SUM " 2>&1; wait $!");
    expect_nothing_left();
}

static const char *slurm(const char *command)
{
    static char text[1024];

    if (geteuid() != 0)
        test_skip("a Slurm cluster of its own needs root");
    need("slurmctld");
    need("slurmd");
    need("munged");
    snprintf(text, sizeof text, "sh " SLURM_SH " %s/slurm %d %d sh -c '%s' 2>&1", test_dir(),
             free_port("127.0.0.1"), free_port("127.0.0.1"), command);
    return text;
}

TEST_LIMIT(srun_starts_a_group, 120)
{
    expect_sums(slurm("srun --overcommit -n 3 " SAY_SUM), 3);
    expect_nothing_left();
}

/* Its variables are there, but no step's. */
TEST_LIMIT(a_batch_script_of_slurm_runs_alone, 120)
{
    expect_sums(slurm("cd $TMPDIR; echo \"#!/bin/sh\n" SAY_SUM "\" >job; "
                      "sbatch --overcommit -n 2 -W -o said job; cat said"),
                1);
}

/* torch is not needed for what torchrun sets. */
TEST(torchrun_s_variables_make_a_group)
{
    clear_environment();
    expect_sums("for r in 0 1 2; do RANK=$r LOCAL_RANK=$r WORLD_SIZE=3 LOCAL_WORLD_SIZE=3 "
                "MASTER_ADDR=localhost MASTER_PORT=29500 TORCHELASTIC_RUN_ID=none "
                "TORCHELASTIC_RESTART_COUNT=0 " SAY_SUM " & done; wait",
                3);
    expect_nothing_left();
}

/* As on two hosts, but both are this one. */
TEST(torchrun_s_variables_across_hosts_lead_to_the_port_after_its_own)
{
    char command[512];

    clear_environment();
    snprintf(command, sizeof command,
             "for r in 0 1; do RANK=$r WORLD_SIZE=2 LOCAL_WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 "
             "MASTER_PORT=%d TORCHELASTIC_RUN_ID=none %s & done; wait",
             free_port("127.0.0.1") - 1, SAY_SUM);
    expect_sums(command, 2);
}
