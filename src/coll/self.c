#include "coll/self.h"

#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

struct dhole__self_message {
    struct dhole__self_message *next;
    size_t count;
    dhole_dtype dtype;
    uint8_t data[];
};

dhole_err dhole__self_put(struct dhole__self *self, const void *data, size_t count,
                          dhole_dtype dtype)
{
    size_t bytes = count * dhole_dtype_size(dtype);
    struct dhole__self_message *message = NULL;

    if (bytes <= SIZE_MAX - sizeof *message)
        message = dhole__sys.malloc(sizeof *message + bytes);
    if (message == NULL)
        return dhole__fail_nomem(bytes, "a message to this rank itself");
    message->next = NULL;
    message->count = count;
    message->dtype = dtype;
    if (bytes > 0)
        memcpy(message->data, data, bytes);
    if (self->last != NULL)
        self->last->next = message;
    else
        self->first = message;
    self->last = message;
    return DHOLE_OK;
}

static void drop_first(struct dhole__self *self)
{
    struct dhole__self_message *message = self->first;

    self->first = message->next;
    if (self->first == NULL)
        self->last = NULL;
    free(message);
}

dhole_err dhole__self_take(struct dhole__self *self, void *data, size_t count, dhole_dtype dtype)
{
    const struct dhole__self_message *message = self->first;
    size_t bytes = count * dhole_dtype_size(dtype);

    if (message == NULL)
        return dhole__fail(DHOLE_ERR_MISMATCH,
                           "send/recv of %zu %s from itself, which has sent itself nothing: it "
                           "must send first",
                           count, dhole_dtype_name(dtype));
    if (message->count != count || message->dtype != dtype)
        return dhole__fail(
            DHOLE_ERR_MISMATCH, "send/recv of %zu %s from itself, which has sent itself %zu %s",
            count, dhole_dtype_name(dtype), message->count, dhole_dtype_name(message->dtype));
    if (bytes > 0)
        memcpy(data, message->data, bytes);
    drop_first(self);
    return DHOLE_OK;
}

void dhole__self_free(struct dhole__self *self)
{
    while (self->first != NULL)
        drop_first(self);
}
