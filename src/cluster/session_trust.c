#include <stdio.h>
#include <string.h>

#include "cluster/session.h"

enum { call_ms = 10000 }; /* to connect */

const dhole_trusted *dhole__session_find_trusted(const dhole_cluster *s, const dhole_pin *pin)
{
    for (size_t i = 0; i < s->trusted_count; i++)
        if (memcmp(&s->trusted[i].pin, pin, sizeof *pin) == 0)
            return &s->trusted[i];
    return NULL;
}

void dhole__session_expect(dhole_cluster *s, const struct dhole__roster *roster)
{
    pthread_mutex_lock(&s->trust_lock);
    s->expected_count = roster->size;
    for (int rank = 0; rank < roster->size; rank++)
        s->expected[rank] = roster->who[rank].pin;
    pthread_mutex_unlock(&s->trust_lock);
}

int dhole__session_lists(void *session, const dhole_pin *pin)
{
    return dhole__session_find_trusted(session, pin) != NULL;
}

/* The coordinator vouches for the ranks of its roster. */
static int trusts(void *session, const dhole_pin *pin)
{
    dhole_cluster *s = session;
    int found = dhole__session_lists(s, pin);
    char key[DHOLE_FINGERPRINT_SIZE];

    pthread_mutex_lock(&s->trust_lock);
    for (int i = 0; i < s->expected_count && !found; i++)
        found = memcmp(&s->expected[i], pin, sizeof *pin) == 0;
    if (!found) {
        dhole_fingerprint(pin, key);
        snprintf(s->stranger, sizeof s->stranger, "a machine that is not trusted has called, %s",
                 key);
    }
    pthread_mutex_unlock(&s->trust_lock);
    return found;
}

dhole_link_options dhole__session_link_options(dhole_cluster *s)
{
    dhole_link_options options = DHOLE_LINK_OPTIONS_INIT;

    options.identity = s->identity;
    options.session = s->session;
    options.trusts = trusts;
    options.trusts_arg = s;
    options.message_max = dhole__note_max;
    options.connect_timeout_ms = call_ms;
    options.no_retry = 1; /* the session has its own pauses */
    options.cancel_fd = s->stop_pipe[0];
    return options;
}
