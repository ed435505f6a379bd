#include "cli/frame.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sys.h"

static dhole_err write_all(int fd, const void *data, size_t length)
{
    const char *p = data;

    while (length > 0) {
        ssize_t n = dhole__sys.send(fd, p, length, dhole__msg_nosignal);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return dhole__fail_errno(DHOLE_ERR_PEER_LOST, "cannot write to a local rank");
        p += n;
        length -= (size_t)n;
    }
    return DHOLE_OK;
}

static dhole_err read_all(int fd, void *data, size_t length)
{
    char *p = data;

    while (length > 0) {
        ssize_t n = read(fd, p, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return dhole__fail_errno(DHOLE_ERR_PEER_LOST, "cannot read from a local rank");
        if (n == 0)
            return dhole__fail(DHOLE_ERR_PEER_LOST, "a local rank ended");
        p += n;
        length -= (size_t)n;
    }
    return DHOLE_OK;
}

dhole_err dhole__frame_write(int fd, const void *data, size_t length)
{
    uint32_t n = (uint32_t)length;
    dhole_err err;

    if (length > dhole__frame_max)
        return dhole__fail(DHOLE_ERR_LIMIT, "a message of %zu bytes: at most %d go to a rank",
                           length, (int)dhole__frame_max);
    err = write_all(fd, &n, sizeof n);
    return err ? err : write_all(fd, data, length);
}

dhole_err dhole__frame_read(int fd, struct dhole__buf *out)
{
    uint32_t n;
    dhole_err err = read_all(fd, &n, sizeof n);

    dhole__buf_init(out, dhole__frame_max + 1);
    if (err == DHOLE_OK && n > dhole__frame_max)
        err = dhole__fail(DHOLE_ERR_PROTOCOL, "a message of %u bytes from a local rank", n);
    if (err == DHOLE_OK)
        err = dhole__buf_add(out, NULL, (size_t)n + 1);
    if (err == DHOLE_OK)
        err = read_all(fd, out->data, n);
    if (err == DHOLE_OK) {
        out->data[n] = '\0';
        out->len = n;
    }
    if (err)
        dhole__buf_free(out);
    return err;
}
