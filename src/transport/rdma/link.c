#include "transport/rdma/link.h"

#include "base/bytes.h"
#include "base/clock.h"

static void end(struct dhole__link *link)
{
    link->ended = true;
    link->ended_at = dhole__now();
}

void dhole__link_look(struct dhole__link *link)
{
    size_t size = 4 * (size_t)link->rails, moved = 1;

    while (!link->ended && moved > 0) {
        uint8_t beyond;
        struct iovec iov = {link->last + link->got, size - link->got};
        bool is_whole = iov.iov_len == 0;
        if (is_whole)
            iov = (struct iovec){&beyond, 1};
        if (dhole__conn_recv(link->lower, &iov, 1, &moved) != DHOLE_OK || (is_whole && moved > 0))
            end(link);
        else
            link->got += moved;
    }
}

bool dhole__link_last(const struct dhole__link *link, int rail, uint32_t *messages)
{
    if (link->got != 4 * (size_t)link->rails)
        return false;
    *messages = dhole__get32(link->last + 4 * (size_t)rail);
    return true;
}

void dhole__link_say_last(struct dhole__link *link, const uint32_t *messages)
{
    uint8_t bytes[sizeof link->last];
    struct iovec iov = {bytes, 4 * (size_t)link->rails};
    size_t moved;

    for (int i = 0; i < link->rails; i++)
        dhole__put32(bytes + 4 * (size_t)i, messages[i]);
    /* It fits, as nothing else was sent; and who is not there needs none. */
    if (dhole__conn_send(link->lower, &iov, 1, &moved) != DHOLE_OK)
        end(link);
}
