#include "group/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "seal/identity.h"

static dhole_err copy_text(const char **text)
{
    size_t size = *text != NULL ? strlen(*text) + 1 : 0;
    char *copy = NULL;

    if (size > 0) {
        copy = dhole__sys.malloc(size);
        if (copy == NULL) {
            *text = NULL;
            return dhole__fail_nomem(size, "a group's options");
        }
        memcpy(copy, *text, size);
    }
    *text = copy;
    return DHOLE_OK;
}

/* One text for each rank. */
static dhole_err copy_texts(const char *const **texts, int size)
{
    const char *const *given = *texts;
    const char **copy;
    dhole_err err = DHOLE_OK;

    if (given == NULL)
        return DHOLE_OK;
    *texts = copy = dhole__sys.calloc((size_t)size, sizeof *copy);
    if (copy == NULL)
        return dhole__fail_nomem((size_t)size * sizeof *copy, "a group's options");
    for (int rank = 0; rank < size && !err; rank++) {
        copy[rank] = given[rank];
        err = copy_text(&copy[rank]);
    }
    return err;
}

static void free_texts(const char *const *texts, int size)
{
    for (int rank = 0; texts != NULL && rank < size; rank++)
        free((void *)texts[rank]);
    free((void *)texts);
}

static dhole_err copy_pins(dhole_options *options)
{
    size_t bytes = (size_t)options->size * sizeof *options->pins;
    const dhole_pin *given = options->pins;
    dhole_pin *pins;

    if (given == NULL)
        return DHOLE_OK;
    options->pins = pins = dhole__sys.malloc(bytes);
    if (pins == NULL)
        return dhole__fail_nomem(bytes, "a group's pins");
    memcpy(pins, given, bytes);
    return DHOLE_OK;
}

static dhole_err copy_identity(dhole_options *options)
{
    const dhole_identity *given = options->identity;
    dhole_identity *share = NULL;
    dhole_err err = given != NULL ? dhole__identity_share(given, &share) : DHOLE_OK;

    options->identity = share;
    return err;
}

/* What could not be copied is NULL, never the caller's. */
static dhole_err copy_all(dhole_options *options)
{
    dhole_err err = copy_text(&options->session), next;

    if ((next = copy_text(&options->agreement)) != DHOLE_OK)
        err = next;
    if ((next = copy_text(&options->host)) != DHOLE_OK)
        err = next;
    if ((next = copy_texts(&options->hosts, options->size)) != DHOLE_OK)
        err = next;
    if ((next = copy_texts(&options->devices, options->size)) != DHOLE_OK)
        err = next;
    if ((next = copy_pins(options)) != DHOLE_OK)
        err = next;
    if ((next = copy_identity(options)) != DHOLE_OK)
        err = next;
    return err;
}

static void note_bound(struct dhole__settings *settings, int fd)
{
    struct dhole__address *bound = &settings->bound[settings->bound_count];

    bound->length = sizeof bound->addr;
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&bound->addr, &bound->length) < 0)
        return;
    bound->family = bound->addr.ss_family;
    settings->bound_count++;
}

dhole_err dhole__settings_copy(const dhole_options *options, const int *other_fds,
                               struct dhole__settings **out)
{
    struct dhole__settings *settings = dhole__sys.calloc(1, sizeof *settings);
    int rails;
    dhole_err err;

    if (settings == NULL)
        return dhole__fail_nomem(sizeof *settings, "a group's options");
    settings->options = *options;
    err = copy_all(&settings->options);
    if (err) {
        dhole__settings_free(settings);
        return err;
    }
    rails = options->hosts != NULL ? dhole__tcp_rails(options->hosts[options->rank]) : 1;
    note_bound(settings, options->listen_fd);
    for (int i = rails; other_fds != NULL && i < dhole__rails_max; i++)
        note_bound(settings, other_fds[i - 1]);
    *out = settings;
    return DHOLE_OK;
}

void dhole__settings_free(struct dhole__settings *settings)
{
    dhole_options *options = &settings->options;

    free_texts(options->hosts, options->size);
    free_texts(options->devices, options->size);
    free((void *)options->pins);
    dhole_identity_free((dhole_identity *)options->identity);
    free((void *)options->session);
    free((void *)options->agreement);
    free((void *)options->host);
    free(settings);
}
