#include "cli/doctor_pairs.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"

enum {
    all_pairs_max = 8, /* ranks of which every pair is measured */
    warm_calls = 20,
    calls_min = 10,
    calls_max = 1000,
    message_bytes = 1 << 20,
    first_messages = 4,
    messages_max = 512
};

static const double latency_seconds = 0.1, bandwidth_seconds = 0.2;

int dhole__doctor_pair_count(int ranks)
{
    return ranks <= all_pairs_max ? ranks * (ranks - 1) / 2 : ranks;
}

static void list_pairs(int ranks, struct dhole__doctor_pair *pairs)
{
    int n = 0;

    for (int a = 0; a < ranks; a++)
        if (ranks > all_pairs_max)
            pairs[n++] = (struct dhole__doctor_pair){.from = a, .to = (a + 1) % ranks};
        else
            for (int b = a + 1; b < ranks; b++)
                pairs[n++] = (struct dhole__doctor_pair){.from = a, .to = b};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The side that leads decides how often something is done, by what it has seen so far. */
static dhole_err agree(dhole_group *group, bool leads, int other, double seconds, double each,
                       int most, int *count)
{
    double n = each > 0 ? seconds / each : most;

    *count = n > most ? most : n < calls_min ? calls_min : (int)n;
    if (leads)
        return dhole_send(group, count, sizeof *count, DHOLE_U8, other);
    return dhole_recv(group, count, sizeof *count, DHOLE_U8, other);
}

/* There and back, n times; the leader's median of half of it. */
static dhole_err ping_pong(dhole_group *group, bool leads, int other, int n, double *median)
{
    double *seconds = dhole__sys.calloc((size_t)n, sizeof *seconds);
    dhole_err err = DHOLE_OK;
    uint64_t word = 0;

    if (seconds == NULL)
        return dhole__fail_nomem((size_t)n * sizeof *seconds, "the times of messages");
    for (int i = 0; i < n && err == DHOLE_OK; i++) {
        int64_t start = dhole__now();
        if (leads)
            err = dhole_send(group, &word, 1, DHOLE_U64, other);
        if (err == DHOLE_OK)
            err = dhole_recv(group, &word, 1, DHOLE_U64, other);
        if (err == DHOLE_OK && !leads)
            err = dhole_send(group, &word, 1, DHOLE_U64, other);
        seconds[i] = (double)(dhole__now() - start) * 1e-9 / 2;
    }
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    *median = seconds[n / 2];
    free(seconds);
    return err;
}

/* n messages one way and a byte back; seconds of a message. */
static dhole_err stream(dhole_group *group, bool leads, int other, uint8_t *message, int n,
                        double *each)
{
    dhole_err err = DHOLE_OK;
    int64_t start = dhole__now();
    uint8_t done = 0;

    for (int i = 0; i < n && err == DHOLE_OK; i++)
        err = leads ? dhole_send(group, message, message_bytes, DHOLE_U8, other)
                    : dhole_recv(group, message, message_bytes, DHOLE_U8, other);
    if (err == DHOLE_OK)
        err = leads ? dhole_recv(group, &done, 1, DHOLE_U8, other)
                    : dhole_send(group, &done, 1, DHOLE_U8, other);
    *each = (double)(dhole__now() - start) * 1e-9 / n;
    return err;
}

static dhole_err measure_pair(dhole_group *group, struct dhole__doctor_pair *pair, uint8_t *message)
{
    bool leads = dhole_rank(group) == pair->from;
    int other = leads ? pair->to : pair->from, calls = 0, messages = 0;
    double each = 0;
    dhole_err err = ping_pong(group, leads, other, warm_calls, &each);

    if (err == DHOLE_OK)
        err = agree(group, leads, other, latency_seconds, 2 * each, calls_max, &calls);
    if (err == DHOLE_OK)
        err = ping_pong(group, leads, other, calls, &pair->latency);
    if (err == DHOLE_OK)
        err = stream(group, leads, other, message, first_messages, &each);
    if (err == DHOLE_OK)
        err = agree(group, leads, other, bandwidth_seconds, each, messages_max, &messages);
    if (err == DHOLE_OK)
        err = stream(group, leads, other, message, messages, &each);
    pair->bandwidth = each > 0 ? message_bytes / each : 0;
    return err;
}

/* What a pair's leader has measured becomes known to all. */
static dhole_err tell_all(dhole_group *group, struct dhole__doctor_pair *pair)
{
    bool leads = dhole_rank(group) == pair->from;
    double result[] = {leads ? pair->latency : 0, leads ? pair->bandwidth : 0};
    dhole_err err = dhole_all_max(group, result, result, 2, DHOLE_F64);

    pair->latency = result[0];
    pair->bandwidth = result[1];
    return err;
}

dhole_err dhole__doctor_measure(dhole_group *group, struct dhole__doctor_pair *pairs)
{
    int rank = dhole_rank(group), count = dhole__doctor_pair_count(dhole_size(group));
    uint8_t *message = dhole__sys.calloc(1, message_bytes);
    dhole_err err = DHOLE_OK;

    if (message == NULL)
        return dhole__fail_nomem(message_bytes, "a message");
    list_pairs(dhole_size(group), pairs);
    for (int i = 0; i < count && err == DHOLE_OK; i++) {
        if (pairs[i].from == rank || pairs[i].to == rank)
            err = measure_pair(group, &pairs[i], message);
        if (err == DHOLE_OK)
            err = tell_all(group, &pairs[i]);
    }
    free(message);
    return err;
}
