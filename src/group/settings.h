/* What a group was made with, kept for the groups that are made of it. */
#ifndef DHOLE_GROUP_SETTINGS_H
#define DHOLE_GROUP_SETTINGS_H

#include "dhole/group.h"
#include "transport/tcp/tcp.h"

struct dhole__settings {
    dhole_options options; /* all copies but the socket and the functions */
    bool has_bound;
    struct dhole__address bound; /* of the socket that the caller gave */
};

/* `options` are complete: size set, session and agreement not NULL. */
DHOLE__MUST_CHECK dhole_err dhole__settings_copy(const dhole_options *options,
                                                 struct dhole__settings **out);
void dhole__settings_free(struct dhole__settings *settings);

#endif
