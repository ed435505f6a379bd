#include "base/compare.h"

#include <ctype.h>

enum { before = 40, shown = 200 };

/* What is shown of a text: a long one from shortly before `difference`, where it begins to differ.
 * Bytes that a terminal would obey are not. */
static void show(struct dhole__quote q, size_t difference, char out[static shown + 1])
{
    size_t from = q.length > shown && difference > before ? difference - before : 0;
    size_t length;

    if (from > q.length)
        from = q.length;
    length = q.length - from < shown ? q.length - from : shown;
    for (size_t i = 0; i < length; i++)
        out[i] = iscntrl((unsigned char)q.text[from + i]) ? '?' : q.text[from + i];
    out[length] = '\0';
}

dhole_err dhole__compare(dhole_err err, const char *what, const char *our_name,
                         struct dhole__quote ours, const char *their_name,
                         struct dhole__quote theirs)
{
    char shown_ours[shown + 1], shown_theirs[shown + 1];
    size_t i = 0;

    while (i < ours.length && i < theirs.length && ours.text[i] == theirs.text[i])
        i++;
    if (i == ours.length && i == theirs.length)
        return DHOLE_OK;
    show(ours, i, shown_ours);
    show(theirs, i, shown_theirs);
    return dhole__fail(err, "the %s differs: %s has \"%s\", %s \"%s\"", what, our_name, shown_ours,
                       their_name, shown_theirs);
}
