#include <string.h>

#include "base/change.h"
#include "cluster/session.h"
#include "cluster/trust.h"

static const char prefix[] = "file:";

const char *dhole__meeting_path(const char *address)
{
    return strncmp(address, prefix, sizeof prefix - 1) == 0 ? address + sizeof prefix - 1 : NULL;
}

dhole_err dhole__meeting_write(const char *path, const char *address)
{
    struct dhole__change change;
    dhole_err err = dhole__change_begin(path, &change);

    return err ? err : dhole__change_commit(&change, 0600, address, strlen(address));
}

/* Anybody who could write there could send this rank elsewhere, if to no avail: it would meet a
 * wrong key. */
dhole_err dhole__meeting_read(void *path, char address[DHOLE_ADDRESS_SIZE])
{
    struct dhole__buf text;
    bool there;
    dhole_err err;

    dhole__buf_init(&text, DHOLE_ADDRESS_SIZE - 1);
    err = dhole__file_read(path, 022, &text, &there);
    if (!err && !there)
        err = dhole__fail(DHOLE_ERR_PEER_LOST, "the coordinator has not written %.512s yet",
                          (const char *)path);
    if (!err) {
        memcpy(address, text.data, text.len);
        address[text.len] = '\0';
        address[strcspn(address, "\n")] = '\0';
        err = dhole__check_address(address);
    }
    dhole__buf_free(&text);
    return err;
}
