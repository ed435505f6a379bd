#include "group/report.h"

#include <string.h>

#include "base/bytes.h"

enum { tell_ms = 500 };

void dhole__report_await(struct dhole__report *report, struct dhole__conn *control)
{
    report->awaited = true;
    report->has_head = false;
    report->io = dhole__io_recv(control, report->head, sizeof report->head, NULL, 0);
}

/* The length of the text, once the head is known to be sane. */
static dhole_err read_head(const struct dhole__report *report, int peer, size_t *length)
{
    unsigned err = dhole__get16(report->head);

    *length = dhole__get16(report->head + 2);
    if (err > DHOLE_ERR_CANCELLED || *length > sizeof report->text || (err == 0) != (*length == 0))
        return dhole__fail(DHOLE_ERR_PROTOCOL, "rank %d sent a malformed report", peer);
    return DHOLE_OK;
}

dhole_err dhole__report_step(struct dhole__report *report, int peer)
{
    bool moved;
    size_t length;
    dhole_err err = dhole__io_step(&report->io, 1, &moved);

    if (err)
        return dhole__fail_in(err, "rank %d was lost while it joined", peer);
    if (dhole__io_left(&report->io) > 0)
        return DHOLE_OK;
    err = read_head(report, peer, &length);
    if (err)
        return err;
    if (!report->has_head && length > 0) {
        report->has_head = true;
        report->io = dhole__io_recv(report->io.conn, report->text, length, NULL, 0);
        return dhole__report_step(report, peer);
    }
    report->awaited = false;
    if (length == 0)
        return DHOLE_OK;
    return dhole__fail((dhole_err)dhole__get16(report->head), "%.*s", (int)length, report->text);
}

void dhole__report_tell(struct dhole__conn *control, dhole_err err)
{
    char message[dhole__message_max] = "";
    uint8_t head[dhole__report_head] = {0};
    size_t length;

    if (err)
        dhole__message_save(message);
    length = strnlen(message, dhole__report_text_max);
    /* Only here the caller has cancelled it. */
    dhole__put16(head, err == DHOLE_ERR_CANCELLED ? DHOLE_ERR_ABORTED : (unsigned)err);
    dhole__put16(head + 2, (unsigned)length);
    if (dhole__io_run_one(dhole__io_send(control, head, sizeof head, message, length),
                          dhole__deadline_in(tell_ms)) != DHOLE_OK &&
        err)
        dhole__message_restore(message);
}
