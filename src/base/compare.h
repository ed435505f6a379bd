/* Two sides that must agree on something: an error that quotes both when they do not. */
#ifndef DHOLE_BASE_COMPARE_H
#define DHOLE_BASE_COMPARE_H

#include "base/error.h"

/* A text, not NUL-terminated. */
struct dhole__quote {
    const char *text;
    size_t length;
};

/* DHOLE_OK when both texts are the same; else err, with the part of each that is worth showing.
 * The names say who the sides are, as in "rank 3". */
DHOLE__MUST_CHECK dhole_err dhole__compare(dhole_err err, const char *what, const char *our_name,
                                           struct dhole__quote ours, const char *their_name,
                                           struct dhole__quote theirs);

#endif
