/* A rank that `dhole generate` started on its own machine; see spawn.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/frame.h"
#include "cli/local.h"
#include "cli/serve.h"
#include "dhole/infer.h"
#include "infer/shard.h"

enum { threads_max = 1024 };

/* What rank 0 sent, as far as it is needed to join and to run. */
struct job {
    json_t *json; /* owns the strings */
    dhole_options group;
    const char *hosts[dhole__ranks_max];
    dhole_pin pins[dhole__ranks_max];
    const char *devices[dhole__ranks_max];
    enum dhole__sealing sealing;
    dhole_engine_options engine;
    struct dhole__buf path; /* of the model */
    char agreement[dhole__agreement_size];
};

static dhole_err read_peers(struct job *job)
{
    const json_t *hosts = json_object_get(job->json, "hosts");
    const json_t *pins = json_object_get(job->json, "pins");
    size_t size = json_array_size(hosts);

    if (size < 2 || size > dhole__ranks_max || json_array_size(pins) != size)
        return dhole__fail(DHOLE_ERR_CONFIG, "%zu hosts and %zu pins: expected 2 to %d of both",
                           size, json_array_size(pins), dhole__ranks_max);
    job->group.size = (int)size;
    job->group.hosts = job->hosts;
    for (size_t i = 0; i < size; i++) {
        const char *pin = json_string_value(json_array_get(pins, i));
        job->hosts[i] = json_string_value(json_array_get(hosts, i));
        if (job->hosts[i] == NULL || pin == NULL)
            return dhole__fail(DHOLE_ERR_CONFIG, "host or pin %zu is none", i);
        if (dhole_fingerprint_parse(pin, &job->pins[i]) != DHOLE_OK)
            return DHOLE_ERR_CONFIG;
    }
    return DHOLE_OK;
}

/* None, or this rank's row. */
static dhole_err read_devices(struct job *job)
{
    const json_t *devices = json_object_get(job->json, "devices");

    if (json_array_size(devices) == 0)
        return DHOLE_OK;
    if (json_array_size(devices) != (size_t)job->group.size)
        return dhole__fail(DHOLE_ERR_CONFIG, "%zu devices for %d ranks", json_array_size(devices),
                           job->group.size);
    for (int i = 0; i < job->group.size; i++)
        job->devices[i] = json_string_value(json_array_get(devices, (size_t)i));
    job->group.devices = job->devices;
    return DHOLE_OK;
}

static dhole_err read_int(const struct job *job, const char *key, int max, int *out)
{
    long long n;
    dhole_err err = dhole__json_int(job->json, key, 0, max, &n);

    if (err == DHOLE_OK)
        *out = (int)n;
    return err;
}

static dhole_err read_job(int fd, struct job *job)
{
    struct dhole__buf text;
    int parallel = 0, sealing = 0;
    dhole_err err = dhole__frame_read(fd, &text);

    if (err)
        return err;
    err = dhole__json_parse((const char *)text.data, text.len, "rank 0's message", &job->json);
    dhole__buf_free(&text);
    if (err == DHOLE_OK)
        err = read_peers(job);
    if (err == DHOLE_OK)
        err = read_devices(job);
    if (err == DHOLE_OK)
        err = read_int(job, "rank", job->group.size - 1, &job->group.rank);
    if (err == DHOLE_OK)
        err = read_int(job, "listen_fd", 1 << 20, &job->group.listen_fd);
    if (err == DHOLE_OK)
        err = read_int(job, "parallel", DHOLE_PARALLEL_PP, &parallel);
    if (err == DHOLE_OK)
        err = read_int(job, "threads", threads_max, &job->engine.threads);
    if (err == DHOLE_OK)
        err = dhole__json_string(job->json, "session", &job->group.session);
    if (err == DHOLE_OK)
        err = dhole__json_string(job->json, "backend", &job->group.backend);
    if (err == DHOLE_OK)
        err = read_int(job, "sealing", DHOLE__SEAL_OFF, &sealing);
    job->sealing = (enum dhole__sealing)sealing;
    job->group.cancel_fd = fd; /* at its end when rank 0 is */
    job->engine.parallel = (dhole_parallel)parallel;
    return err;
}

static dhole_err read_identity(int fd, dhole_identity **out)
{
    struct dhole__buf pem;
    dhole_err err = dhole__frame_read(fd, &pem);

    if (err)
        return err;
    err = dhole_identity_from_pem((const char *)pem.data, pem.len, out);
    dhole__buf_free(&pem); /* wipes */
    return err;
}

/* Tells rank 0 that this rank is ready (DHOLE_OK), or what failed. */
static dhole_err report(int fd, dhole_err result)
{
    json_t *root = json_pack("{s:i, s:s}", "error", (int)result, "message",
                             result ? dhole_error_message() : "");
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    dhole_err err = DHOLE_ERR_NOMEM;

    if (text != NULL)
        err = dhole__frame_write(fd, text, strlen(text));
    free(text);
    json_decref(root);
    return err;
}

static void report_or_print(int fd, dhole_err result)
{
    char message[512];

    snprintf(message, sizeof message, "%s", dhole_error_message());
    if (report(fd, result) != DHOLE_OK)
        fprintf(stderr, "dhole: a rank without its rank 0: %s\n", message);
}

/* What can fail before anyone waits for this rank. */
static dhole_err prepare(int fd, struct job *job, dhole_model **model, dhole_identity **identity)
{
    dhole_err err = read_job(fd, job);

    if (err == DHOLE_OK)
        err = dhole__frame_read(fd, &job->path);
    if (err == DHOLE_OK)
        err = read_identity(fd, identity);
    if (err == DHOLE_OK)
        err = dhole_model_open((const char *)job->path.data, model);
    if (err)
        return err;
    dhole__agreement(*model, job->engine.parallel, job->group.size, job->agreement);
    job->group.agreement = job->agreement;
    job->group.seal_rdma = job->sealing == DHOLE__SEAL_ON;
    job->group.plain_memory = job->sealing == DHOLE__SEAL_AUTO;
    if (job->sealing != DHOLE__SEAL_OFF) {
        job->group.identity = *identity;
        job->group.pins = job->pins;
    }
    return DHOLE_OK;
}

/* Works in the group until rank 0 is done. */
static dhole_err serve(const struct job *job, const dhole_model *model, dhole_group *group)
{
    dhole_err err = dhole__serve(model, group, &job->engine);

    if (err)
        fprintf(stderr, "dhole: rank %d: %s\n", job->group.rank, dhole_error_message());
    return err;
}

static dhole_err run(int fd)
{
    struct job job = {.group = DHOLE_OPTIONS_INIT};
    dhole_model *model = NULL;
    dhole_identity *identity = NULL;
    dhole_group *group = NULL;
    dhole_err err = prepare(fd, &job, &model, &identity);

    if (err == DHOLE_OK)
        err = report(fd, DHOLE_OK);
    if (err == DHOLE_OK)
        err = dhole_init(&job.group, &group);
    if (job.group.listen_fd >= 0)
        close(job.group.listen_fd);
    if (err == DHOLE_OK)
        err = serve(&job, model, group);
    else
        report_or_print(fd, err);
    dhole_group_free(group);
    dhole_identity_free(identity);
    dhole_model_close(model);
    dhole__buf_free(&job.path);
    json_decref(job.json);
    return err;
}

static int rank(int argc, char **argv)
{
    static const struct option options[] = {
        {"fd", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    long long fd = -1;
    int c;

    while ((c = dhole__next_option(argc, argv, options)) != -1) {
        if (c == 'h')
            return dhole__help_on(&dhole__cmd_rank);
        if (c == '?' || !dhole__option_int(argv, "fd", 0, 1 << 20, &fd))
            return DHOLE__EXIT_USAGE;
    }
    if (fd < 0)
        return dhole__usage(argv[0], "--fd N is missing");
    return dhole__exit_code(run((int)fd));
}

const struct dhole__subcommand dhole__cmd_rank = {
    .name = "rank",
    .help = "Usage: dhole rank --fd N\n"
            "\n"
            "What dhole generate --ranks starts for each further rank, with its orders on\n"
            "descriptor N.\n",
    .run = rank,
};
