/* Errors: every fallible call returns a dhole_err; DHOLE_OK is 0. */
#ifndef DHOLE_ERROR_H
#define DHOLE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* X(code, value, what it means). The values are part of the ABI. */
#define DHOLE_ERR_MAP(X)                                                      \
    X(OK, 0, "success")                                                       \
    X(ERR_INVALID, 1, "invalid argument")                                     \
    X(ERR_NOMEM, 2, "out of memory")                                          \
    X(ERR_SYSTEM, 3, "a system call failed")                                  \
    X(ERR_CONFIG, 4, "the environment or a configuration file is wrong")      \
    X(ERR_TIMEOUT, 5, "the deadline passed")                                  \
    X(ERR_PEER_LOST, 6, "a peer died, stopped or became unreachable")         \
    X(ERR_MISMATCH, 7, "ranks disagree about the call")                       \
    X(ERR_AUTH, 8, "a peer or its data could not be authenticated")           \
    X(ERR_PROTOCOL, 9, "a peer does not speak this protocol")                 \
    X(ERR_ABORTED, 10, "the group was aborted")                               \
    X(ERR_FORMAT, 11, "a file is truncated, damaged or of an unknown format") \
    X(ERR_UNSUPPORTED, 12, "not supported")                                   \
    X(ERR_LIMIT, 13, "a limit was exceeded")                                  \
    X(ERR_CANCELLED, 14, "cancelled by the caller")

typedef enum dhole_err {
#define DHOLE_ERR_ENUM(code, value, text) DHOLE_##code = (value),
    DHOLE_ERR_MAP(DHOLE_ERR_ENUM)
#undef DHOLE_ERR_ENUM
} dhole_err;

/* The constant's name, such as "DHOLE_ERR_TIMEOUT"; never NULL. */
const char *dhole_error_name(dhole_err err);

/* What the code means in a few words; never NULL. */
const char *dhole_error_text(dhole_err err);

/* The calling thread's last error in full: operation, rank, peer, device,
 * system error, and what to do about it. Valid until the thread's next failing
 * call; "" when none failed yet. Never NULL. */
const char *dhole_error_message(void);

#ifdef __cplusplus
}
#endif
#endif
