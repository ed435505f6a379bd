/* What a group was made with, kept for the groups that are made of it. */
#ifndef DHOLE_GROUP_SETTINGS_H
#define DHOLE_GROUP_SETTINGS_H

#include "dhole/group.h"
#include "transport/rails.h"
#include "transport/tcp/tcp.h"

struct dhole__settings {
    dhole_options options; /* all copies but the socket and the functions */
    int bound_count;
    struct dhole__address bound[dhole__rails_max]; /* of the socket for the first address that was
                                                      given, and of those on other networks */
};

/* `options` are complete: size set, session and agreement not NULL; other_fds as in transport.h. */
DHOLE__MUST_CHECK dhole_err dhole__settings_copy(const dhole_options *options, const int *other_fds,
                                                 struct dhole__settings **out);
void dhole__settings_free(struct dhole__settings *settings);

#endif
