#include "cli/launch_mpi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/launch_variables.h"

static const char mpi_hosts_file[] = "mpi-hosts";

/* Open MPI and the others (MPICH, Intel's) want different words for the same. */
struct dialect {
    const char *hosts_option, *host_line;
    bool exports; /* variables must be named to be passed on to other hosts */
};

static const struct dialect open_mpi = {"--hostfile", "%s slots=%d\n", true};
static const struct dialect hydra = {"-f", "%s:%d\n", false};

static const struct dialect *installed(void)
{
    char text[256] = "";
    FILE *pipe = popen("mpirun --version 2>/dev/null", "r");
    size_t n;

    if (pipe == NULL)
        return NULL;
    n = fread(text, 1, sizeof text - 1, pipe);
    text[n] = '\0';
    while (fgetc(pipe) != EOF) {
    }
    if (pclose(pipe) != 0)
        return NULL;
    return strstr(text, "Open MPI") != NULL || strstr(text, "OpenRTE") != NULL ? &open_mpi : &hydra;
}

/* Appends a word to mpirun's command line, an array of pointers. */
static dhole_err add(struct dhole__buf *words, const char *word)
{
    return dhole__buf_add(words, &word, sizeof word);
}

static dhole_err add_pair(struct dhole__buf *words, const char *option, const char *value)
{
    dhole_err err = add(words, option);

    return err ? err : add(words, value);
}

/* The names of the user's variables, which lie in their buffer without what they were set to. */
static dhole_err add_exports(struct dhole__buf *words, struct dhole__buf *names)
{
    dhole_err err = DHOLE_OK;

    for (size_t at = 0; at < names->len && err == DHOLE_OK;) {
        char *text = (char *)names->data + at;
        at += strlen(text) + 1;
        text[strcspn(text, "=")] = '\0';
        err = add_pair(words, "-x", text);
    }
    return err;
}

static dhole_err add_options(const struct dhole__launch_options *options, struct dhole__buf *words)
{
    dhole_err err = DHOLE_OK;

    for (int i = 0; i < options->mpi_args; i++)
        for (char *word = strtok((char *)options->mpi_arg[i], " "); word != NULL && err == DHOLE_OK;
             word = strtok(NULL, " "))
            err = add(words, word);
    if (err == DHOLE_OK && options->cwd != NULL)
        err = add_pair(words, "-wdir", options->cwd);
    for (char **word = options->command; *word != NULL && err == DHOLE_OK; word++)
        err = add(words, *word);
    return err ? err : add(words, NULL);
}

static const char *name_of(const struct dhole__launch_hosts *hosts, int r)
{
    return hosts->rank[r].local ? "localhost" : hosts->rank[r].name;
}

/* Each host once, with the number of its ranks. */
static dhole_err list_hosts(const struct dhole__launch_hosts *hosts, const struct dialect *dialect,
                            struct dhole__buf *out)
{
    dhole_err err = DHOLE_OK;

    for (int r = 0; r < hosts->count && err == DHOLE_OK; r++) {
        const char *name = name_of(hosts, r);
        int ranks = 0, first = -1;
        char line[512];
        for (int k = 0; k < hosts->count; k++)
            if (strcmp(name_of(hosts, k), name) == 0) {
                first = first < 0 ? k : first;
                ranks++;
            }
        snprintf(line, sizeof line, dialect->host_line, name, ranks);
        if (first == r)
            err = dhole__buf_add(out, line, strlen(line));
    }
    return err ? err : dhole__buf_add(out, "", 1);
}

/* What the job is made of, besides what belongs to it. */
struct parts {
    struct dhole__buf words, hosts, names;
    char hosts_path[dhole__launch_path_size + 32], count[16];
};

static dhole_err make(const struct dhole__launch_hosts *hosts,
                      const struct dhole__launch_options *options, const struct dialect *dialect,
                      struct dhole__launch_job *job, struct parts *parts)
{
    struct dhole__buf *variables = &job->rank[0].variables;
    char dir[dhole__launch_path_size], mark[sizeof DHOLE__LAUNCH_MARK + dhole__launch_id_size + 8];
    dhole_err err = list_hosts(hosts, dialect, &parts->hosts);

    job->count = 1;
    dhole__launch_dir(job, 0, dir);
    snprintf(parts->hosts_path, sizeof parts->hosts_path, "%s/%s", dir, mpi_hosts_file);
    snprintf(parts->count, sizeof parts->count, "%d", hosts->count);
    snprintf(mark, sizeof mark, DHOLE__LAUNCH_MARK "=%s-00", job->id);
    if (err == DHOLE_OK)
        err = dhole__buf_add(variables, mark, strlen(mark) + 1);
    if (err == DHOLE_OK)
        err = dhole__launch_user_variables(hosts, options, variables);
    if (err == DHOLE_OK)
        err = dhole__launch_user_variables(hosts, options, &parts->names);
    if (err == DHOLE_OK)
        err = add_pair(&parts->words, "mpirun", dialect->hosts_option);
    if (err == DHOLE_OK)
        err = add(&parts->words, parts->hosts_path);
    if (err == DHOLE_OK)
        err = add_pair(&parts->words, "-n", parts->count);
    if (err == DHOLE_OK && dialect->exports)
        err = add_exports(&parts->words, &parts->names);
    return err ? err : add_options(options, &parts->words);
}

int dhole__launch_mpi(const struct dhole__launch_hosts *hosts,
                      const struct dhole__launch_options *options, struct dhole__launch_job *job)
{
    const struct dialect *dialect = installed();
    struct parts parts;
    dhole_err err;
    int code;

    if (dialect == NULL) {
        fprintf(stderr, "dhole: cannot run mpirun: --backend mpi needs Open MPI or MPICH\n");
        return 127;
    }
    dhole__buf_init(&parts.words, 1 << 20);
    dhole__buf_init(&parts.hosts, 1 << 20);
    dhole__buf_init(&parts.names, 4 << 20);
    err = make(hosts, options, dialect, job, &parts);
    if (err == DHOLE_OK) {
        job->command = (char *const *)(void *)parts.words.data;
        job->prefix = false;
        job->cwd = NULL;
        dhole__launch_add_file(job, -1, mpi_hosts_file, (char *)parts.hosts.data);
        parts.hosts.data = NULL; /* the job's now */
    }
    code = err ? dhole__report(err) : dhole__launch_run(job);
    dhole__buf_free(&parts.words);
    dhole__buf_free(&parts.hosts);
    dhole__buf_free(&parts.names);
    return code;
}
