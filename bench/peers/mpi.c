/* Open MPI and MPICH: built once with each. */
#include <mpi.h>

#include "loop.h"

static int rank;

static void all_sum(void *state)
{
    struct loop *loop = state;

    MPI_Allreduce(loop->in, loop->out, (int)(loop->bytes / sizeof(float)), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
}

static void ping_pong(void *state)
{
    struct loop *loop = state;
    int count = (int)(loop->bytes / sizeof(float));

    if (rank == 0)
        MPI_Send(loop->in, count, MPI_FLOAT, 1, 0, MPI_COMM_WORLD);
    MPI_Recv(loop->out, count, MPI_FLOAT, 1 - rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rank == 1)
        MPI_Send(loop->in, count, MPI_FLOAT, 0, 0, MPI_COMM_WORLD);
}

/* What mpirun says in the environment, which is known before MPI_Init. */
static int rank_in_environment(void)
{
    const char *text = getenv("OMPI_COMM_WORLD_RANK");

    if (text == NULL)
        text = getenv("PMI_RANK");
    return text != NULL ? (int)strtol(text, NULL, 10) : 0;
}

int main(int argc, char **argv)
{
    struct loop loop = loop_arguments(argc, argv);
    int size;

    loop_bind(&loop, rank_in_environment());
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size != loop.ranks) {
        fprintf(stderr, "%d ranks instead of %d: started by another MPI's mpirun?\n", size,
                loop.ranks);
        return 1;
    }
    loop_buffers(&loop, rank);
    loop_run(&loop, loop_is(&loop, "send") ? ping_pong : all_sum, &loop);
    loop_check(&loop, rank);
    MPI_Finalize();
    loop_write(&loop, rank);
    return 0;
}
