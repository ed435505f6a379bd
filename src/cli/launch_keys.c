#include "cli/launch_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

const char dhole__launch_pins_file[] = "pins";

void dhole__launch_identity_file(int r, char out[static dhole__launch_name_size])
{
    snprintf(out, dhole__launch_name_size, "identity-%02d.pem", r);
}

/* What "NAME=VALUE" sets that variable to; NULL: another one. */
static const char *value_in(const char *assignment, const char *name)
{
    size_t length = strlen(name);

    return strncmp(assignment, name, length) == 0 && assignment[length] == '='
               ? assignment + length + 1
               : NULL;
}

/* What the ranks are given by the user; NULL: nothing. */
static const char *given(const struct dhole__launch_cluster *cluster, const char *name)
{
    const struct dhole__launch_options *options = cluster->options;
    const char *value = NULL, *last = NULL;
    const json_t *env;
    size_t k;

    json_array_foreach(cluster->hosts->envs, k, env)
    {
        value = value_in(json_string_value(env), name);
        last = value != NULL ? value : last;
    }
    for (int i = 0; i < options->envs; i++) {
        value = value_in(options->env[i], name);
        last = value != NULL ? value : last;
    }
    return last;
}

/* Without "ips" ranks that are all here meet on loopback. */
static bool leaves_host(const struct dhole__launch_hosts *hosts)
{
    for (int r = 0; r < hosts->count; r++)
        if (!hosts->rank[r].local || json_array_size(hosts->rank[r].ips) > 0)
            return true;
    return false;
}

/* Of rank r, whose line in the pins it appends too. */
static dhole_err add_key(struct dhole__launch_job *job, int r, char *pins)
{
    char name[dhole__launch_name_size], fingerprint[DHOLE_FINGERPRINT_SIZE], *pem;
    dhole_identity *identity;
    dhole_pin pin;
    size_t length;
    dhole_err err = dhole_identity_generate(&identity);

    if (err)
        return err;
    dhole_identity_pin(identity, &pin);
    dhole_fingerprint(&pin, fingerprint);
    strcat(strcat(pins, fingerprint), "\n");
    err = dhole_identity_to_pem(identity, &pem, &length);
    dhole_identity_free(identity);
    if (err)
        return err;
    dhole__launch_identity_file(r, name);
    dhole__launch_add_file(job, r, name, pem);
    return DHOLE_OK;
}

static dhole_err add_keys(struct dhole__launch_job *job)
{
    size_t size = (size_t)job->count * (DHOLE_FINGERPRINT_SIZE + 1) + 1;
    char *pins = dhole__sys.calloc(1, size);
    dhole_err err = DHOLE_OK;

    if (pins == NULL)
        return dhole__fail_nomem(size, "the ranks' pins");
    for (int r = 0; r < job->count && err == DHOLE_OK; r++)
        err = add_key(job, r, pins);
    dhole__launch_add_file(job, -1, dhole__launch_pins_file, pins);
    return err;
}

dhole_err dhole__launch_keys(struct dhole__launch_cluster *cluster, struct dhole__launch_job *job)
{
    enum dhole__sealing sealing;
    const char *word = cluster->options->seal;
    dhole_err err;

    if (word == NULL)
        word = given(cluster, "DHOLE_SEAL");
    if (word == NULL)
        word = getenv("DHOLE_SEAL");
    err = dhole__sealing_parse(word, &sealing);
    if (err)
        return err;
    cluster->seal = word != NULL && *word != '\0' ? word : "auto";
    cluster->keys =
        job->count > 1 && given(cluster, "DHOLE_PINS") == NULL &&
        (sealing == DHOLE__SEAL_ON || (sealing == DHOLE__SEAL_AUTO && leaves_host(cluster->hosts)));
    return cluster->keys ? add_keys(job) : DHOLE_OK;
}
