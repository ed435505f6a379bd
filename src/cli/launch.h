/* What a job of `dhole launch` is: ranks, where each of them runs, and what it is told. */
#ifndef DHOLE_CLI_LAUNCH_H
#define DHOLE_CLI_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "coll/comm.h"

enum {
    dhole__launch_id_size = 33,
    dhole__launch_path_size = 512,
    dhole__launch_name_size = 24,
    dhole__launch_files_max = 3 + dhole__rank_max /* addresses, devices, pins; a key each */
};

/* The variable that marks every process of rank R as "<id of the job>-<R, two digits>", and so
 * finds those that left the rank's process group. */
#define DHOLE__LAUNCH_MARK "DHOLE_LAUNCH_ID"

/* A file that ranks find in a private directory of their host for as long as the job runs. */
struct dhole__launch_file {
    char name[dhole__launch_name_size];
    char *text; /* wiped and freed with the job */
    int rank;   /* the one that has it; -1: all */
};

struct dhole__launch_rank {
    const char *host;            /* what ssh is told; NULL: this machine */
    struct dhole__buf variables; /* "NAME=VALUE", each with its NUL */
};

/* Strings belong to whoever made the job. */
struct dhole__launch_job {
    char id[dhole__launch_id_size]; /* random */
    struct dhole__launch_file file[dhole__launch_files_max];
    int files;
    struct dhole__launch_rank rank[dhole__rank_max];
    int count;
    char *const *command; /* up to a NULL */
    const char *cwd;      /* NULL: this process's, where it exists */
    int64_t timeout_ms;   /* 0: none */
    bool prefix, verbose;
};

/* Variables that name a cluster, up to a NULL: a rank has only those that it is given. */
extern const char *const dhole__launch_unset[];

/* The directory of the files of rank r, which starts on its host. Ranks of this machine share
 * one. */
void dhole__launch_dir(const struct dhole__launch_job *job, int r,
                       char out[static dhole__launch_path_size]);

/* Takes the text over. */
void dhole__launch_add_file(struct dhole__launch_job *job, int rank, const char *name, char *text);

/* Runs it; returns the exit code of `dhole launch`. */
int dhole__launch_run(const struct dhole__launch_job *job);

#endif
