/* Any bytes as the beginning of a connection, of a link and of a group: they are refused, or what
 * they say is within its bounds. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "group/hello.h"
#include "link/hello.h"
#include "stream.h"

static void decode_preambles(const uint8_t *data, size_t size)
{
    uint8_t again[dhole__link_preamble_size];
    struct dhole__link_preamble link;
    struct dhole__preamble group;

    if (size >= dhole__link_preamble_size && dhole__link_preamble_decode(data, &link)) {
        dhole__link_preamble_encode(&link, again);
        if (memcmp(again, data, dhole__link_preamble_size) != 0)
            abort();
    }
    if (size >= dhole__preamble_size && dhole__preamble_decode(data, &group)) {
        dhole__preamble_encode(&group, again);
        if (memcmp(again, data, dhole__preamble_size) != 0)
            abort();
    }
}

static void link_hello(const uint8_t *data, size_t size, size_t piece)
{
    static const dhole_link_options options = {.session = "demo",
                                               .agreement = "model 7",
                                               .rank = 1,
                                               .size = 2,
                                               .message_max = 1 << 20,
                                               .cancel_fd = -1};
    const struct dhole__link_terms terms = {.options = options};
    struct dhole__link_hello hello;
    struct dhole__conn *conn = stream_new(data, size, piece);
    bool done = false;
    dhole_err err = DHOLE_OK;

    if (conn == NULL)
        return;
    dhole__link_hello_start(&hello, conn, &terms, 2, NULL);
    while (!err && !done)
        err = dhole__link_hello_step(&hello, &done);
    if (!err &&
        (dhole__link_hello_rank(&hello) != 0 || dhole__link_hello_lanes(&hello) > DHOLE_LANES_MAX))
        abort();
    dhole__conn_close(conn);
}

static void group_hello(const uint8_t *data, size_t size, size_t piece)
{
    const dhole_options options = {
        .rank = 1, .size = 2, .session = "demo", .agreement = "model 7", .host = "here"};
    struct dhole__conn *conn = stream_new(data, size, piece);
    char host[dhole__host_text_max + 1];
    struct dhole__hello hello;
    bool done = false;
    dhole_err err = DHOLE_OK;

    if (conn == NULL)
        return;
    dhole__hello_start(&hello, conn, &options, DHOLE__LANES_ANY, 1, 0);
    while (!err && !done)
        err = dhole__hello_step(&hello, &done);
    if (!err) {
        dhole__hello_host(&hello, host);
        if (dhole__hello_shares_memory(&hello) != (strcmp(host, "here") == 0) ||
            dhole__hello_uses_rdma(&hello))
            abort();
    }
    dhole__conn_close(conn);
}

/* The first byte says how the others come. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    decode_preambles(data + 1, size - 1);
    link_hello(data + 1, size - 1, data[0] + 1U);
    group_hello(data + 1, size - 1, data[0] + 1U);
    return 0;
}
