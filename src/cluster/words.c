#include "cluster/words.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

dhole_err dhole__words_send(dhole_link *link, uint32_t kind, json_t *words, int64_t timeout_ms)
{
    char *text = words != NULL ? json_dumps(words, JSON_COMPACT) : NULL;
    dhole_message message = {.tag = kind, .dtype = DHOLE_U8, .dims = 1};
    dhole_err err;

    json_decref(words);
    if (text == NULL)
        return dhole__fail(DHOLE_ERR_NOMEM, "no memory: a message to %s", dhole_link_address(link));
    message.shape[0] = strlen(text);
    if (message.shape[0] > dhole__words_max)
        err = dhole__fail(DHOLE_ERR_LIMIT, "a message of %zu bytes: at most %d go",
                          (size_t)message.shape[0], (int)dhole__words_max);
    else
        err = dhole_link_send(link, DHOLE_CHANNEL_CONTROL, &message, text, timeout_ms);
    free(text);
    return err;
}

static dhole_err parse(dhole_link *link, const struct dhole__buf *text, json_t **words)
{
    json_t *root;
    dhole_err err = dhole__json_parse((const char *)text->data, text->len, "a message", &root);

    if (err == DHOLE_OK && json_is_object(root)) {
        *words = root;
        return DHOLE_OK;
    }
    if (err == DHOLE_OK)
        json_decref(root);
    return dhole__fail(DHOLE_ERR_PROTOCOL, "%s sent a message that is no JSON object",
                       dhole_link_address(link));
}

dhole_err dhole__words_recv(dhole_link *link, uint32_t *kind, json_t **words, int64_t timeout_ms)
{
    struct dhole__buf text;
    dhole_message message;
    dhole_err err = dhole_link_recv(link, DHOLE_CHANNEL_CONTROL, &message, timeout_ms);
    size_t size;

    if (err)
        return err;
    size = dhole_message_size(&message);
    dhole__buf_init(&text, dhole__words_max);
    err = dhole__buf_add(&text, NULL, size);
    if (err)
        return dhole__fail_in(err, "a message of %zu bytes from %s", size,
                              dhole_link_address(link));
    err = dhole_link_recv_data(link, DHOLE_CHANNEL_CONTROL, text.data, timeout_ms);
    if (err == DHOLE_OK)
        err = parse(link, &text, words);
    if (err == DHOLE_OK)
        *kind = message.tag;
    dhole__buf_free(&text);
    return err;
}
