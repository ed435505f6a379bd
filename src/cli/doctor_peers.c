/* The addresses of a host file: those of this machine must be free, the others must answer.
 *
 * A peer that listens there accepts, and where none does yet its host refuses: either way the host
 * is there, no firewall is between, and the time is that of a round trip. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/doctor.h"
#include "cluster/where.h"
#include "transport/tcp/tcp.h"

enum { answer_ms = 2000, text_max = 512 };

struct peer {
    int rank;
    char text[text_max]; /* "host:port" */
    struct dhole__address address;
};

static const double unknown = -1;

static void record(struct dhole__doctor *d, const struct peer *p, const char *state, double seconds)
{
    json_t *time = seconds >= 0 ? json_real(seconds * 1e6) : json_null();

    json_array_append_new(d->peers, json_pack("{s:i, s:o, s:s, s:o}", "rank", p->rank, "address",
                                              dhole__doctor_string(p->text), "state", state,
                                              "round_trip_us", time));
}

static void report_unreachable(struct dhole__doctor *d, const struct peer *p, int error)
{
    char mend[text_max + 64];
    const char *port = strrchr(p->text, ':');

    record(d, p, "unreachable", unknown);
    snprintf(mend, sizeof mend, "ping -c 3 %.*s; if it answers, open the port in its firewall",
             (int)(port - p->text), p->text);
    dhole__doctor_say(d, DHOLE__FINDING_PROBLEM, "peer", p->text, mend,
                      "rank %d cannot be reached: %s", p->rank, strerror(error));
}

static void examine_other(struct dhole__doctor *d, const struct peer *p)
{
    int64_t start = dhole__now();
    int fd = dhole__tcp_try_connect(&p->address, dhole__deadline_in(answer_ms));
    int error = fd < 0 ? errno : 0;
    double seconds = (double)(dhole__now() - start) * 1e-9;

    if (fd >= 0)
        close(fd);
    if (error != 0 && error != ECONNREFUSED) {
        report_unreachable(d, p, error);
        return;
    }
    record(d, p, error ? "refuses" : "listens", seconds);
    dhole__doctor_say(d, DHOLE__FINDING_OK, "peer", p->text, NULL,
                      "rank %d's host answers in %.2f ms; %s listens there", p->rank, seconds * 1e3,
                      error ? "nothing" : "something");
}

/* False: the address is not this machine's. */
static bool examine_own(struct dhole__doctor *d, const struct peer *p)
{
    int fd, error = dhole__tcp_listen(&p->address, &fd) == 0 ? 0 : errno;

    if (error == EADDRNOTAVAIL)
        return false;
    record(d, p, error ? "taken" : "own", unknown);
    if (error) {
        dhole__doctor_say(d, DHOLE__FINDING_PROBLEM, "peer", p->text,
                          "choose another port, or end what has it: ss -tlnp on Linux, lsof "
                          "-iTCP -sTCP:LISTEN on macOS",
                          "rank %d is here, but cannot listen there: %s", p->rank, strerror(error));
        return true;
    }
    close(fd);
    dhole__doctor_say(d, DHOLE__FINDING_OK, "peer", p->text, NULL,
                      "rank %d is here, and its port is free", p->rank);
    return true;
}

/* The first rank that has it. */
static int owner_of(const struct dhole__hostfile *file, const char *address)
{
    size_t wanted = strlen(address), length;

    for (int r = 0; r < file->size; r++)
        for (int rail = 0; rail < file->rails; rail++) {
            const char *text = dhole__tcp_rail(file->hosts[r], rail, &length);
            if (length == wanted && memcmp(text, address, length) == 0)
                return r;
        }
    return -1;
}

/* Whether it can be that rank's, and nobody else's; a problem is reported. */
static bool is_sound(struct dhole__doctor *d, const struct dhole__hostfile *file, struct peer *p)
{
    int owner = owner_of(file, p->text);

    if (dhole__tcp_resolve(p->text, &p->address) != DHOLE_OK)
        dhole__doctor_say_error(d, DHOLE__FINDING_PROBLEM, "peer", p->text,
                                dhole__tcp_is_address(p->text)
                                    ? "give its IP address, or add the name to /etc/hosts"
                                    : "write it as HOST:PORT, or [IPV6]:PORT");
    else if (dhole__where_is_wild(p->text) || dhole__tcp_port(&p->address) == 0)
        dhole__doctor_say(d, DHOLE__FINDING_PROBLEM, "peer", p->text,
                          "give an address of its host that the others reach, and a port",
                          "rank %d cannot be called there", p->rank);
    else if (owner != p->rank)
        dhole__doctor_say(d, DHOLE__FINDING_PROBLEM, "peer", p->text, "give each rank its own port",
                          "ranks %d and %d have the same address", owner, p->rank);
    else
        return true;
    record(d, p, "unknown", unknown);
    return false;
}

/* Whether it is an address of this machine. */
static bool examine(struct dhole__doctor *d, const struct dhole__hostfile *file, struct peer *p)
{
    if (!is_sound(d, file, p))
        return false;
    if (examine_own(d, p))
        return true;
    examine_other(d, p);
    return false;
}

void dhole__doctor_peers(struct dhole__doctor *d, const struct dhole__hostfile *file)
{
    bool any_own = file->size == 0;

    for (int r = 0; r < file->size; r++)
        for (int rail = 0; rail < file->rails; rail++) {
            struct peer p = {.rank = r};
            size_t length;
            const char *text = dhole__tcp_rail(file->hosts[r], rail, &length);
            snprintf(p.text, sizeof p.text, "%.*s", (int)length, text);
            any_own = examine(d, file, &p) || any_own;
        }
    if (!any_own)
        dhole__doctor_say(d, DHOLE__FINDING_NOTE, "hostfile", d->hostfile,
                          "run dhole doctor on each of its hosts",
                          "no address in it is this machine's: no rank would run here");
}
