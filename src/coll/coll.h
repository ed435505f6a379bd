/* The collectives, written once over the lanes of a comm. Arguments are checked by the
 * caller (src/group). */
#ifndef DHOLE_COLL_COLL_H
#define DHOLE_COLL_COLL_H

#include "coll/comm.h"

DHOLE__MUST_CHECK dhole_err dhole__barrier(struct dhole__comm *comm, dhole__deadline deadline);

DHOLE__MUST_CHECK dhole_err dhole__all_reduce(struct dhole__comm *comm, enum dhole__op op,
                                              const void *in, void *out, size_t count,
                                              dhole_dtype dtype, dhole__deadline deadline);

DHOLE__MUST_CHECK dhole_err dhole__all_gather(struct dhole__comm *comm, const void *in, void *out,
                                              size_t count, dhole_dtype dtype,
                                              dhole__deadline deadline);

DHOLE__MUST_CHECK dhole_err dhole__broadcast(struct dhole__comm *comm, void *data, size_t count,
                                             dhole_dtype dtype, int root, dhole__deadline deadline);

DHOLE__MUST_CHECK dhole_err dhole__send(struct dhole__comm *comm, const void *data, size_t count,
                                        dhole_dtype dtype, int to, dhole__deadline deadline);

DHOLE__MUST_CHECK dhole_err dhole__recv(struct dhole__comm *comm, void *data, size_t count,
                                        dhole_dtype dtype, int from, dhole__deadline deadline);

/* The same two without waiting: the message is stepped by the caller. */
void dhole__send_start(struct dhole__message *message, struct dhole__comm *comm, const void *data,
                       size_t count, dhole_dtype dtype, int to, dhole__deadline deadline);

void dhole__recv_start(struct dhole__message *message, struct dhole__comm *comm, void *data,
                       size_t count, dhole_dtype dtype, int from, dhole__deadline deadline);

DHOLE__MUST_CHECK dhole_err dhole__sendrecv(struct dhole__comm *comm, const void *in,
                                            size_t in_count, int to, void *out, size_t out_count,
                                            int from, dhole_dtype dtype, dhole__deadline deadline);

DHOLE__MUST_CHECK dhole_err dhole__sum_scatter(struct dhole__comm *comm, const void *in, void *out,
                                               size_t count, dhole_dtype dtype,
                                               dhole__deadline deadline);

DHOLE__MUST_CHECK dhole_err dhole__all_to_all(struct dhole__comm *comm, const void *in, void *out,
                                              size_t count, dhole_dtype dtype,
                                              dhole__deadline deadline);

#endif
