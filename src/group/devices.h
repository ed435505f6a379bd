/* The device matrix of jaccl: which RDMA devices lead from each rank to each other one. */
#ifndef DHOLE_GROUP_DEVICES_H
#define DHOLE_GROUP_DEVICES_H

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"
#include "dhole/group.h"
#include "transport/rails.h"

enum {
    dhole__devices_name_max = 63,          /* bytes; that of verbs */
    dhole__devices_max = dhole__rails_max, /* of a rank, and to one rank */
    dhole__devices_list_max = dhole__devices_max * (dhole__devices_name_max + 1)
};

struct dhole__devices {
    int size;    /* ranks */
    char **list; /* [size * size], by row: names separated by commas, or NULL */
};

/* Reads N rows of N entries in JSON: null, a name, or a list of names. It must be a mesh, or a ring
 * if that is asked for or all that it can be, in which entries of ranks that are not next to each
 * other do not matter; of two ranks both or none must have devices. What an entry says of a rank's
 * way to itself is not looked at. DHOLE_ERR_CONFIG names the file, row and column. */
DHOLE__MUST_CHECK dhole_err dhole__devices_read(const char *path, bool ring,
                                                struct dhole__devices *out);

/* The same of parsed JSON; `what` names it in errors. */
DHOLE__MUST_CHECK dhole_err dhole__devices_parse(const json_t *root, const char *what, bool ring,
                                                 struct dhole__devices *out);

/* A zeroed one is allowed. */
void dhole__devices_free(struct dhole__devices *devices);

/* A rank's row, as in dhole_options. */
const char *const *dhole__devices_row(const struct dhole__devices *devices, int rank);

/* Likewise of one row; rank, size, devices and ring of the options are used. */
DHOLE__MUST_CHECK dhole_err dhole__devices_check_row(const dhole_options *options);

/* Whether this rank is to reach `peer` by RDMA; of options that have been checked. */
bool dhole__devices_lead_to(const dhole_options *options, int peer);

/* A device of this rank's, and how many ranks it is to lead to. */
struct dhole__device_use {
    char name[dhole__devices_name_max + 1];
    int peers;
};

/* All of them, each once; of options that have been checked. */
DHOLE__MUST_CHECK dhole_err dhole__devices_used(
    const dhole_options *options, struct dhole__device_use use[static dhole__devices_max], int *n);

/* Names separated by commas, as in a row; DHOLE_ERR_CONFIG. */
DHOLE__MUST_CHECK dhole_err dhole__devices_check_list(const char *list);

/* The names in a list that has been checked; returns how many. */
int dhole__devices_split(const char *list,
                         char name[static dhole__devices_max][dhole__devices_name_max + 1]);

#endif
