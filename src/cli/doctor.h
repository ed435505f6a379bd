/* What the parts of `dhole doctor` share: findings, and what else goes into its JSON. */
#ifndef DHOLE_CLI_DOCTOR_H
#define DHOLE_CLI_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>

#include "dhole/group.h"
#include "group/hostfile.h"

enum dhole__severity {
    DHOLE__FINDING_OK,
    DHOLE__FINDING_NOTE,   /* a group can form all the same */
    DHOLE__FINDING_PROBLEM /* none can form, of the kind that is asked for */
};

enum { dhole__doctor_backend_max = 16 };

struct dhole__doctor {
    const char *hostfile, *chosen;           /* options; NULL: not given */
    char backend[dhole__doctor_backend_max]; /* of the group that is to form */
    bool json;
    bool has_problem;
    int rank, ranks; /* of the group that the environment names; else 0 and 1 */
    json_t *findings, *devices, *peers, *pairs;
    json_t *wanted; /* devices of this machine that a matrix names; NULL: there is none */
};

/* Adds a finding. `about` is a word of docs/rdma.md, `subject` what it is about and `mend` the
 * command that mends it, or what to do; NULL when there is none. */
void dhole__doctor_say(struct dhole__doctor *d, enum dhole__severity severity, const char *about,
                       const char *subject, const char *mend, const char *format, ...)
    DHOLE__PRINTF(6, 7);

/* The same with this thread's error message. */
void dhole__doctor_say_error(struct dhole__doctor *d, enum dhole__severity severity,
                             const char *about, const char *subject, const char *mend);

/* How bad it is when RDMA as a whole does not work. */
enum dhole__severity dhole__doctor_without_rdma(const struct dhole__doctor *d);

/* A JSON string, with '?' for what is not UTF-8. */
json_t *dhole__doctor_string(const char *text);

/* The examinations; each adds findings, and none fails. */
void dhole__doctor_local(struct dhole__doctor *d);
void dhole__doctor_peers(struct dhole__doctor *d, const struct dhole__hostfile *file);
void dhole__doctor_rdma(struct dhole__doctor *d);

/* Joins the group that the environment names, and measures it. The group is there until all ranks
 * have printed; NULL after a problem. */
dhole_group *dhole__doctor_join(struct dhole__doctor *d);

/* What differs between systems, in a file each. */

/* What the system says about RDMA, and the memory that may be locked for it. The library lists
 * that many devices, -1: there is no library. */
void dhole__doctor_system(struct dhole__doctor *d, int devices);

/* The network interface of a device whose library does not tell; "" when its name does not either.
 */
enum { dhole__doctor_interface_max = 64 };
void dhole__doctor_guess_interface(const char *device,
                                   char name[static dhole__doctor_interface_max]);

/* What to do when there is no library, a port is down, or its interface has no IPv4 address. */
enum dhole__mend { DHOLE__MEND_LIBRARY, DHOLE__MEND_PORT, DHOLE__MEND_ADDRESS };
enum { dhole__doctor_mend_max = 192 };
void dhole__doctor_mend(enum dhole__mend what, const char *interface,
                        char mend[static dhole__doctor_mend_max]);

/* Reads the host file of either form; what it says of backend and devices goes into *d. Of one for
 * `dhole launch` the addresses are those that it would give to the ranks. */
DHOLE__MUST_CHECK dhole_err dhole__doctor_read_hosts(struct dhole__doctor *d,
                                                     struct dhole__hostfile *out);

/* Prints all that has been found; false when it could not. */
bool dhole__doctor_print(const struct dhole__doctor *d);

#endif
