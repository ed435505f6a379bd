/* A libibverbs without hardware: the same functions over devices that a test describes. All of it
 * is in one process, so that ranks that are threads reach each other; where DHOLE_FAKE_FABRIC names
 * a folder, devices of several processes do too. It is opened at run time as the real one is
 * (DHOLE_VERBS_LIBRARY names it), and a test that links to it controls it with what is here. Any
 * thread may call, at any time. */
#ifndef FAKE_VERBS_H
#define FAKE_VERBS_H

#include <stdbool.h>
#include <stdint.h>

/* Has the product open this library instead of the system's, in this process and its children. */
void fake_load(void);

/* Describes a device, which is made if there is none of that name ("*": each that there is), with
 * words "key=value" between blanks; what is not mentioned stays as it was. Ends the process when
 * it does not understand. What concerns traffic acts at once, the rest when it is next asked for.
 *
 *   qp=both|rc|uc         kinds of queue pairs; one that is refused gives qp_errno (102)
 *   qp_max, mr_max        so many of them at most: the next is EBUSY, or ENOMEM of regions
 *   qp_told, mr_told      what ibv_query_device says instead; -1: the truth
 *   wr_max, sge_max, cqe_max, inline_max
 *   gids=rxe|mlx5|v4_at_1|v4_at_2|link|global|none
 *   port=active|down|init pd=yes|no (ibv_alloc_pd gives NULL and leaves errno alone)
 *   mtu=256...4096        msg_max=bytes that ibv_query_port allows
 *   msg_refuse=bytes      whatever is said, a longer one is refused with EINVAL
 *   net=N                 devices of one net reach each other, those of two do not
 *   host=N                what tells its addresses from those of others, 1 to 255: each process's
 *                         own, of one net; else the device's number
 *   unreachable=ERRNO     from ready-to-receive towards another net; 0: it says nothing, and
 *                         messages are lost
 *   gid_errno=ERRNO       from ready-to-receive with the own entry gid_at; 0: none
 *   seen=0                nobody reaches this device though all is said to be well
 *   unplugged=1           from now on nothing passes
 *   quiet=1               a message that nobody answers for is never reported as failed
 *   drop=N                the Nth message from now on is lost; drop_rate=N of 1000 are, by seed=N
 *   cut=N                 the Nth message of UC from now on loses all but cut_after bytes, and the
 *                         next goes on in the same receive
 *   twice=N               the Nth message of UC from now on arrives twice
 *   fail_send=N           the Nth completion of a send from now on has fail_status
 *   fail_recv=N           likewise of a receive */
void fake_device(const char *name, const char *settings);

/* The same for several, "name key=value ...; name ...", which replace all there are. Without a
 * call, DHOLE_FAKE_VERBS is taken, or else "fake0; fake1". Nothing may be open. */
void fake_devices(const char *text);

/* Has the device, wherever it is open, report an event: of enum ibv_event_type, of port 1. */
void fake_event(const char *device, int type);

/* Messages are moved by a thread of their own, in no order between queue pairs, instead of by
 * whoever posts them. */
void fake_in_background(bool yes);

/* The Nth call of `verb` from now on (1: the next) fails with `error`, once; N = 0: none does. */
void fake_fail(const char *verb, int nth, int error);

/* Whether that failure is yet to come. */
bool fake_fail_pending(void);

/* Every verb that can be made to fail; ends with NULL. */
extern const char *const fake_failing_verbs[];

struct fake_counts {
    int regions, regions_most;
    int queue_pairs, queue_pairs_most;
    int live;           /* objects of every kind on this device */
    uint64_t sent;      /* messages that were posted */
    uint64_t dropped;   /* on the way, on purpose */
    uint64_t unmatched; /* that found no receive posted here: lost on UC, held or refused on RC */
};

struct fake_counts fake_counts(const char *device);

/* Objects of every kind on all devices, and lists of devices. */
int fake_live(void);

/* The first use that the verbs' manual forbids, in words, such as freeing what is in use; NULL. */
const char *fake_misuse(void);

#endif
