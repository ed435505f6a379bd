#include "base/log.h"
#include "base/os.h"
#include "base/sys.h"
#include "cluster/pairing_maker.h"
#include "transport/io.h"

enum {
    breath_ms = 100, /* when no call can be taken, for want of descriptors say */
    accept_ms = 60000
};

static void *attend(void *arg)
{
    struct dhole__guest *guest = arg;

    dhole__thread_name("dhole-guest");
    dhole__guest_attend(guest);
    atomic_store(&guest->left, true);
    return NULL;
}

static void see_off(struct dhole__guest *guest)
{
    dhole_link_close(guest->link);
    pthread_join(guest->thread, NULL);
    dhole_link_free(guest->link);
    guest->link = NULL;
}

/* A place for another guest: an empty one, else that of the oldest. */
static struct dhole__guest *make_place(struct dhole_pairing *pairing)
{
    struct dhole__guest *oldest = &pairing->guest[0];

    for (struct dhole__guest *g = pairing->guest; g < pairing->guest + dhole__guests_max; g++) {
        if (g->link != NULL && atomic_load(&g->left))
            see_off(g);
        if (g->link == NULL)
            return g;
        if (g->number < oldest->number)
            oldest = g;
    }
    see_off(oldest);
    return oldest;
}

static void let_in(struct dhole_pairing *pairing, dhole_link *link)
{
    struct dhole__guest *guest = make_place(pairing);

    guest->pairing = pairing;
    guest->link = link;
    guest->number = pairing->guests++;
    atomic_store(&guest->left, false);
    if (dhole__sys.thread_create(&guest->thread, NULL, attend, guest) == 0)
        return;
    dhole__log(DHOLE__LOG_WARN, "pairing: cannot start a thread for %s", dhole_link_address(link));
    dhole_link_free(link);
    guest->link = NULL;
}

void *dhole__pairing_keep_door(void *arg)
{
    struct dhole_pairing *pairing = arg;
    struct pollfd stop = {.fd = pairing->stop[0], .events = POLLIN};
    dhole_err err = DHOLE_OK;

    dhole__thread_name("dhole-doorman");
    while (err != DHOLE_ERR_CANCELLED) {
        dhole_link *link;
        err = dhole_link_accept(pairing->listener, accept_ms, &link);
        if (!err) {
            let_in(pairing, link);
        } else if (err != DHOLE_ERR_CANCELLED && err != DHOLE_ERR_TIMEOUT) {
            dhole__log(DHOLE__LOG_WARN, "pairing: %s", dhole_error_message());
            if (dhole__io_poll(&stop, 1, dhole__deadline_in(breath_ms)) == DHOLE_OK)
                break;
        }
    }
    for (struct dhole__guest *g = pairing->guest; g < pairing->guest + dhole__guests_max; g++)
        if (g->link != NULL)
            see_off(g);
    return NULL;
}
