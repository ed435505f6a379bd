#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/peers_ask.h"

enum { default_timeout_s = 5, discovery_ms = 1000, found_max = 256 };

struct peers {
    dhole_identity *identity;
    dhole_pin own;
    dhole_trust *trust;
    struct dhole__asked *machines;
    size_t count, capacity;
    char discovery[256]; /* why there was none; "" */
};

static bool same_pin(const dhole_pin *a, const dhole_pin *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static void list_trusted(struct peers *p)
{
    for (size_t i = 0; i < dhole_trust_count(p->trust); i++) {
        const dhole_trusted *machine = dhole_trust_at(p->trust, i);
        struct dhole__asked *asked = &p->machines[p->count++];
        memcpy(asked->name, machine->name, sizeof asked->name);
        asked->pin = machine->pin;
        asked->trusted = true;
        dhole__asked_add_address(asked, machine->address);
    }
}

/* Anybody can say to be anybody: a trusted machine's key gives one more address to try, at which
 * only that key will do. */
static void found(void *arg, const dhole_found *machine)
{
    struct peers *p = arg;
    struct dhole__asked *asked;

    if (same_pin(&machine->pin, &p->own))
        return;
    for (size_t i = 0; i < p->count; i++)
        if (same_pin(&p->machines[i].pin, &machine->pin)) {
            dhole__asked_add_address(&p->machines[i], machine->address);
            return;
        }
    if (p->count == p->capacity)
        return;
    asked = &p->machines[p->count++];
    memcpy(asked->name, machine->name, sizeof asked->name);
    asked->pin = machine->pin;
    dhole__asked_add_address(asked, machine->address);
    if (dhole_trust_by_name(p->trust, machine->name) != NULL)
        snprintf(asked->why, sizeof asked->why,
                 "it says to be %s, but its key is not the one that is trusted", machine->name);
}

static void look_around(struct peers *p, int64_t timeout_ms)
{
    int64_t ms = timeout_ms / 3 < discovery_ms ? timeout_ms / 3 : discovery_ms;

    if (dhole_discover(ms, found, p) == DHOLE_OK)
        return;
    snprintf(p->discovery, sizeof p->discovery, "%s", dhole_error_message());
    fprintf(stderr, "dhole: %s\n", p->discovery);
}

/* All that is known before anyone is asked. */
static dhole_err gather(struct peers *p, int64_t timeout_ms)
{
    dhole_err err = dhole_identity_load(NULL, &p->identity);

    if (err == DHOLE_OK)
        err = dhole_trust_load(NULL, &p->trust);
    if (err)
        return err;
    dhole_identity_pin(p->identity, &p->own);
    p->capacity = dhole_trust_count(p->trust) + found_max;
    p->machines = dhole__sys.calloc(p->capacity, sizeof *p->machines);
    if (p->machines == NULL)
        return dhole__fail_nomem(p->capacity * sizeof *p->machines, "the machines");
    list_trusted(p);
    look_around(p, timeout_ms);
    return DHOLE_OK;
}

static json_t *number_or_null(double x)
{
    return x > 0 ? json_real(x) : json_null();
}

static json_t *status_item(const struct dhole__asked *m, const char *key)
{
    json_t *item = json_object_get(m->status, key);

    return item != NULL ? json_incref(item) : json_null();
}

static json_t *describe(const struct dhole__asked *m)
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];
    json_t *addresses = json_array();

    for (int i = 0; i < m->address_count; i++)
        json_array_append_new(addresses, json_string(m->addresses[i]));
    dhole_fingerprint(&m->pin, fingerprint);
    return json_pack(
        "{s:s, s:s, s:b, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
        m->name, "fingerprint", fingerprint, "trusted", m->trusted, "addresses", addresses,
        "address", m->answered >= 0 ? json_string(m->addresses[m->answered]) : json_null(), "state",
        dhole__asked_state(m), "why", m->why, "error",
        m->err ? json_string(dhole_error_name(m->err)) : json_null(), "round_trip_us",
        m->round_trip_us > 0 ? json_integer(m->round_trip_us) : json_null(), "bytes_per_second",
        number_or_null(m->bytes_per_second), "version", status_item(m, "version"), "model",
        status_item(m, "model"), "model_loaded", status_item(m, "model_loaded"), "in_flight",
        status_item(m, "in_flight"), "memory_pressure", status_item(m, "memory_pressure"));
}

static bool print_json(const struct peers *p)
{
    json_t *list = json_array(), *root;
    bool ok;

    for (size_t i = 0; i < p->count; i++)
        json_array_append_new(list, describe(&p->machines[i]));
    root = json_pack("{s:o, s:o}", "peers", list, "no_discovery",
                     p->discovery[0] != '\0' ? json_string(p->discovery) : json_null());
    ok = root != NULL && json_dumpf(root, stdout, 0) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return dhole__flush_stdout() && ok;
}

static void print_machine(const struct dhole__asked *m)
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE], time[32] = "-", speed[32] = "-";
    int shown = m->answered >= 0 ? m->answered : 0;

    dhole_fingerprint(&m->pin, fingerprint);
    if (m->round_trip_us > 0)
        snprintf(time, sizeof time, "%.2f ms", (double)m->round_trip_us / 1e3);
    if (m->bytes_per_second > 0)
        snprintf(speed, sizeof speed, "%.0f MB/s", m->bytes_per_second / 1e6);
    printf("%-16s %-11s %-8s %10s %10s  %-21s  %.19s\n", m->name, dhole__asked_state(m),
           m->trusted ? "yes" : "no", time, speed, m->address_count > 0 ? m->addresses[shown] : "-",
           fingerprint);
    if (m->why[0] != '\0')
        printf("  %s\n", m->why);
}

static bool print_text(const struct peers *p)
{
    if (p->count > 0)
        printf("%-16s %-11s %-8s %10s %10s  %-21s  %s\n", "NAME", "STATE", "TRUSTED", "ROUND TRIP",
               "SPEED", "ADDRESS", "FINGERPRINT");
    else
        fprintf(stderr, "dhole: no machine is trusted, and none was found; see dhole help pair\n");
    for (size_t i = 0; i < p->count; i++)
        print_machine(&p->machines[i]);
    return dhole__flush_stdout();
}

static int run(int64_t timeout_ms, bool json)
{
    struct peers p = {0};
    dhole__deadline deadline = dhole__deadline_in(timeout_ms);
    dhole_err err = gather(&p, timeout_ms);
    bool printed = true;

    if (err == DHOLE_OK)
        err = dhole__peers_ask(p.identity, p.machines, p.count, deadline);
    if (err == DHOLE_OK)
        printed = json ? print_json(&p) : print_text(&p);
    for (size_t i = 0; i < p.count; i++)
        json_decref(p.machines[i].status);
    free(p.machines);
    dhole_trust_free(p.trust);
    dhole_identity_free(p.identity);
    if (err)
        return dhole__report(err);
    return printed ? DHOLE__EXIT_DONE : DHOLE__EXIT_FAILED;
}

static int peers(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"timeout", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    float seconds = default_timeout_s;
    bool json = false;
    int c;

    while ((c = dhole__next_option(argc, argv, options)) != -1) {
        if (c == 'h')
            return dhole__help_on(&dhole__cmd_peers);
        if (c == 'j')
            json = true;
        else if (c != 't' || !dhole__option_float(argv, "timeout", 0.1F, 3600,
                                                  "of seconds, 0.1 to 3600", &seconds))
            return DHOLE__EXIT_USAGE;
    }
    return run((int64_t)(seconds * 1000), json);
}

const struct dhole__subcommand dhole__cmd_peers = {
    .name = "peers",
    .summary = "shows the other machines: who they are, how they are, how far away",
    .help = "Usage: dhole peers [--json] [--timeout S]\n"
            "\n"
            "Asks the machines that this one trusts, all at once, how their `dhole join --listen`\n"
            "is: ready, busy, degraded or unavailable, and why. Those that announce themselves on\n"
            "the local network without being trusted are listed, and not asked anything.\n"
            "\n"
            "  --timeout S   seconds in which they must have answered (default 5)\n"
            "  --json        one JSON object: peers, a list of {name, fingerprint, trusted,\n"
            "                addresses, address, state, why, error, round_trip_us,\n"
            "                bytes_per_second, version, model, model_loaded, in_flight,\n"
            "                memory_pressure}, and no_discovery, why nothing was looked for, or\n"
            "                null\n"
            "\n"
            "Example:\n"
            "  dhole peers\n",
    .run = peers,
};
