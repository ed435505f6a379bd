#include "cli/peers_ask.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"
#include "cluster/service.h"

enum { threads_max = 32, pings = 5, ping_timeout_ms = 1000 };

struct round {
    const dhole_identity *identity;
    struct dhole__asked *machines;
    size_t count;
    atomic_size_t next;
    dhole__deadline deadline;
};

const char *dhole__asked_state(const struct dhole__asked *machine)
{
    switch (machine->state) {
    case DHOLE__ASKED_READY: return "ready";
    case DHOLE__ASKED_BUSY: return "busy";
    case DHOLE__ASKED_DEGRADED: return "degraded";
    case DHOLE__ASKED_UNAVAILABLE: return "unavailable";
    default: return "not asked";
    }
}

void dhole__asked_add_address(struct dhole__asked *machine, const char *address)
{
    for (int i = 0; i < machine->address_count; i++)
        if (strcmp(machine->addresses[i], address) == 0)
            return;
    if (address[0] != '\0' && machine->address_count < dhole__addresses_max)
        snprintf(machine->addresses[machine->address_count++], DHOLE_ADDRESS_SIZE, "%s", address);
}

static void set_why(struct dhole__asked *machine, dhole_err err)
{
    machine->err = err;
    snprintf(machine->why, sizeof machine->why, "%s", dhole_error_message());
    dhole__disarm(machine->why);
}

/* As far as there is time, tries one address after the other. That one of them has another key
 * is told rather than that another one is silent. */
static dhole_link *reach(const struct round *round, struct dhole__asked *machine)
{
    machine->state = DHOLE__ASKED_UNAVAILABLE;
    snprintf(machine->why, sizeof machine->why,
             "no address is known: dhole trust add %s FINGERPRINT HOST:PORT", machine->name);
    for (int i = 0; i < machine->address_count; i++) {
        int64_t left = dhole__deadline_ms(round->deadline) / (machine->address_count - i);
        dhole_link *link;
        dhole_err err = dhole__service_call(round->identity, &machine->pin, machine->addresses[i],
                                            1, left > 0 ? left : 1, -1, &link);
        if (err == DHOLE_OK) {
            machine->answered = i;
            machine->err = DHOLE_OK;
            machine->why[0] = '\0';
            return link;
        }
        if (machine->err != DHOLE_ERR_AUTH)
            set_why(machine, err);
    }
    return NULL;
}

/* What the worker says of itself. */
static void take_status(struct dhole__asked *machine)
{
    const char *state = json_string_value(json_object_get(machine->status, "state"));
    const char *why = json_string_value(json_object_get(machine->status, "why"));

    snprintf(machine->why, sizeof machine->why, "%s", why != NULL ? why : "");
    machine->state = DHOLE__ASKED_UNAVAILABLE;
    if (state == NULL)
        snprintf(machine->why, sizeof machine->why, "it does not say how it is");
    else if (strcmp(state, "ready") == 0)
        machine->state = DHOLE__ASKED_READY;
    else if (strcmp(state, "busy") == 0)
        machine->state = DHOLE__ASKED_BUSY;
    else if (strcmp(state, "degraded") == 0)
        machine->state = DHOLE__ASKED_DEGRADED;
    else
        snprintf(machine->why, sizeof machine->why, "%s", state);
    dhole__disarm(machine->why);
}

static int64_t left_ms(const struct round *round, int64_t most)
{
    int64_t left = dhole__deadline_ms(round->deadline);

    return left < 1 ? 1 : left < most ? left : most;
}

static dhole_err measure_round_trip(const struct round *round, struct dhole__asked *machine,
                                    dhole_link *link)
{
    for (int i = 0; i < pings; i++) {
        int64_t us;
        dhole_err err = dhole__service_ping(link, left_ms(round, ping_timeout_ms), &us);
        if (err)
            return err;
        if (machine->round_trip_us == 0 || us < machine->round_trip_us)
            machine->round_trip_us = us > 0 ? us : 1;
    }
    return DHOLE_OK;
}

static void ask_over(const struct round *round, struct dhole__asked *machine, dhole_link *link)
{
    dhole_err err = dhole__service_status(link, left_ms(round, INT32_MAX), &machine->status);

    if (err) {
        set_why(machine, err);
        return;
    }
    take_status(machine);
    err = measure_round_trip(round, machine, link);
    /* A request is not to be disturbed. */
    if (err == DHOLE_OK && machine->state == DHOLE__ASKED_READY)
        err = dhole__service_speed(link, left_ms(round, INT32_MAX), &machine->bytes_per_second);
    if (err) {
        set_why(machine, err);
        machine->state = DHOLE__ASKED_DEGRADED;
    }
}

static void *ask_main(void *arg)
{
    struct round *round = arg;
    size_t i;

    while ((i = atomic_fetch_add(&round->next, 1)) < round->count) {
        struct dhole__asked *machine = &round->machines[i];
        dhole_link *link = machine->trusted ? reach(round, machine) : NULL;
        if (link != NULL)
            ask_over(round, machine, link);
        dhole_link_free(link);
    }
    return NULL;
}

dhole_err dhole__peers_ask(const dhole_identity *identity, struct dhole__asked *machines,
                           size_t count, dhole__deadline deadline)
{
    struct round round = {
        .identity = identity, .machines = machines, .count = count, .deadline = deadline};
    pthread_t threads[threads_max];
    int started = 0;

    for (size_t i = 0; i < count; i++)
        machines[i].answered = -1;
    while (started < threads_max && (size_t)started < count &&
           dhole__sys.thread_create(&threads[started], NULL, ask_main, &round) == 0)
        started++;
    if (started == 0 && count > 0)
        return dhole__fail(DHOLE_ERR_SYSTEM, "cannot start a thread");
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return DHOLE_OK;
}
