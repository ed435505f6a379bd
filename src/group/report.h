/* What a rank that joins over RDMA says to each other one on their control connection, once and
 * before anything else: that its lanes are all there, or why there will be none. So whoever waits
 * for a lane hears at once that a rank cannot open its devices, or does not reach another. */
#ifndef DHOLE_GROUP_REPORT_H
#define DHOLE_GROUP_REPORT_H

#include "transport/io.h"

enum { dhole__report_head = 8, dhole__report_text_max = 512 };

/* A report that is to come. It must stay where it is. Head: error 16 bits, 0 for none; length of
 * the text 16 bits; zero 32 bits. The text follows. */
struct dhole__report {
    uint8_t head[dhole__report_head];
    char text[dhole__report_text_max];
    struct dhole__io io;
    bool awaited, has_head;
};

void dhole__report_await(struct dhole__report *report, struct dhole__conn *control);

/* Goes on without waiting, until the report is not awaited any more. Fails with what it says, or
 * names the peer that was lost before it came. */
DHOLE__MUST_CHECK dhole_err dhole__report_step(struct dhole__report *report, int peer);

/* Tells a peer; this thread's message goes along with an error. Who cannot be told is left so. */
void dhole__report_tell(struct dhole__conn *control, dhole_err err);

#endif
