/* Any bytes as what ranks tell each other while a group forms or shrinks, and of what they wait
 * for; the first one says which. It is refused, or can be told again. */
#include <stdlib.h>
#include <string.h>

#include "coll/waits.h"
#include "fuzz.h"
#include "group/rendezvous_wire.h"
#include "group/roll.h"
#ifdef WITH_RDMA
#include "transport/rdma/offer.h"
#endif

static void registration(const uint8_t *in)
{
    struct dhole__registration told, again;
    uint8_t out[dhole__registration_size];

    if (!dhole__registration_decode(in, &told))
        return;
    dhole__registration_encode(&told, out);
    if (!dhole__registration_decode(out, &again) || again.rank != told.rank ||
        again.size != told.size || again.session_length != told.session_length ||
        again.address_length != told.address_length || again.left_ms != told.left_ms)
        abort();
}

static void answer(const uint8_t *in)
{
    struct dhole__answer told, again;
    uint8_t out[dhole__answer_head_size];

    if (!dhole__answer_decode(in, &told))
        return;
    dhole__answer_encode(&told, out);
    if (told.length > dhole__answer_max || !dhole__answer_decode(out, &again) ||
        again.err != told.err || again.length != told.length)
        abort();
}

static void stance(const uint8_t *in)
{
    struct dhole__stance told, again;
    uint8_t out[dhole__stance_size], twice[dhole__stance_size];

    if (!dhole__stance_decode(in, &told))
        return;
    dhole__stance_encode(&told, out);
    if (!dhole__stance_decode(out, &again))
        abort();
    dhole__stance_encode(&again, twice);
    if (memcmp(out, twice, sizeof out) != 0)
        abort();
}

static void waits(const uint8_t *in)
{
    struct dhole__waits told;
    uint8_t out[dhole__waits_size];
    char text[160];

    dhole__waits_decode(in, &told);
    dhole__waits_describe(&told, text, sizeof text);
    dhole__waits_encode(&told, out);
    dhole__waits_deadlock(&told, 0, &told, 1);
}

#ifdef WITH_RDMA
static void offer(const uint8_t *in)
{
    static struct dhole__rdma_offer told, again;
    static struct dhole__attempt attempts[dhole__attempts_max];
    static uint8_t out[dhole__rdma_offer_size];

    if (dhole__rdma_offer_decode(in, &told) != DHOLE_OK)
        return;
    dhole__rdma_offer_encode(&told, out);
    if (dhole__rdma_offer_decode(out, &again) != DHOLE_OK || again.n != told.n ||
        dhole__attempts_list(&told, &again, attempts) > dhole__attempts_max)
        abort();
}
#endif

static const struct {
    void (*decode)(const uint8_t *in);
    size_t size;
} words[] = {
    {registration, dhole__registration_size},
    {answer, dhole__answer_head_size},
    {stance, dhole__stance_size},
    {waits, dhole__waits_size},
#ifdef WITH_RDMA
    {offer, dhole__rdma_offer_size},
#endif
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t which = size > 0 ? data[0] % (sizeof words / sizeof words[0]) : 0;
    uint8_t *bytes = calloc(1, words[which].size); /* no more, so that the sanitizer sees its end */

    if (bytes == NULL || size == 0)
        goto out;
    memcpy(bytes, data + 1, size - 1 < words[which].size ? size - 1 : words[which].size);
    words[which].decode(bytes);
out:
    free(bytes);
    return 0;
}
