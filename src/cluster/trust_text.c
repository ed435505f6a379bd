#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "cluster/trust.h"
#include "seal/identity.h"

/* A machine, and where in the text its line begins, its words end, and the next line begins. */
struct entry {
    dhole_trusted machine;
    size_t line;
    size_t start, words_end, next;
};

struct dhole_trust {
    struct dhole__buf entries;
};

static size_t count_of(const dhole_trust *trust)
{
    return trust->entries.len / sizeof(struct entry);
}

static const struct entry *entry_at(const dhole_trust *trust, size_t i)
{
    return (const struct entry *)(const void *)trust->entries.data + i;
}

static const struct entry *by_name(const dhole_trust *trust, const char *name)
{
    for (size_t i = 0; i < count_of(trust); i++)
        if (strcmp(entry_at(trust, i)->machine.name, name) == 0)
            return entry_at(trust, i);
    return NULL;
}

static const struct entry *by_pin(const dhole_trust *trust, const dhole_pin *pin)
{
    for (size_t i = 0; i < count_of(trust); i++)
        if (memcmp(&entry_at(trust, i)->machine.pin, pin, sizeof *pin) == 0)
            return entry_at(trust, i);
    return NULL;
}

size_t dhole_trust_count(const dhole_trust *trust)
{
    return count_of(trust);
}

const dhole_trusted *dhole_trust_at(const dhole_trust *trust, size_t i)
{
    return i < count_of(trust) ? &entry_at(trust, i)->machine : NULL;
}

const dhole_trusted *dhole_trust_by_name(const dhole_trust *trust, const char *name)
{
    const struct entry *entry = by_name(trust, name);

    return entry != NULL ? &entry->machine : NULL;
}

const dhole_trusted *dhole_trust_by_pin(const dhole_trust *trust, const dhole_pin *pin)
{
    const struct entry *entry = by_pin(trust, pin);

    return entry != NULL ? &entry->machine : NULL;
}

void dhole_trust_free(dhole_trust *trust)
{
    if (trust == NULL)
        return;
    dhole__buf_free(&trust->entries);
    free(trust);
}

/* ---- Reading ---- */

enum { words_max = 3 };

/* Splits a line's words, up to a comment; *end is where the last one ends. More than words_max are
 * counted, and not kept. */
static int split(char *line, char *words[words_max], size_t *end)
{
    int count = 0;
    char *at = line;

    *end = 0;
    while (*(at += strspn(at, " \t\r")) != '\0' && *at != '#') {
        size_t length = strcspn(at, " \t\r#");
        bool last = at[length] == '\0' || at[length] == '#';
        if (count < words_max)
            words[count] = at;
        count++;
        *end = (size_t)(at - line) + length;
        at += length;
        if (last) {
            *at = '\0';
            break;
        }
        *at++ = '\0';
    }
    return count;
}

/* Errors quote words, and what is no text must not reach a terminal so. */
static bool is_printable(const char *word)
{
    for (; *word != '\0'; word++)
        if (*word < '!' || *word > '~')
            return false;
    return true;
}

static dhole_err read_words(char *words[words_max], int count, dhole_trusted *out)
{
    dhole_err err;

    for (int i = 0; i < count && i < words_max; i++)
        if (!is_printable(words[i]))
            return dhole__fail(DHOLE_ERR_FORMAT, "a character that is not printable ASCII");
    if (count < 2 || count > words_max)
        return dhole__fail(DHOLE_ERR_FORMAT, "%d words, expected NAME FINGERPRINT [ADDRESS]",
                           count);
    *out = (dhole_trusted){0};
    err = dhole__check_name(words[0]);
    if (!err)
        err = dhole_fingerprint_parse(words[1], &out->pin);
    if (!err && count > 2)
        err = dhole__check_address(words[2]);
    if (err)
        return err;
    strcpy(out->name, words[0]);
    strcpy(out->address, count > 2 ? words[2] : "");
    return DHOLE_OK;
}

static dhole_err check_new(const dhole_trust *trust, const dhole_trusted *machine)
{
    const struct entry *same = by_name(trust, machine->name);

    if (same != NULL)
        return dhole__fail(DHOLE_ERR_FORMAT, "the name %s is that of line %zu", machine->name,
                           same->line);
    same = by_pin(trust, &machine->pin);
    if (same != NULL)
        return dhole__fail(DHOLE_ERR_FORMAT, "the key is that of line %zu, %s", same->line,
                           same->machine.name);
    return DHOLE_OK;
}

/* The line at text[entry->start..end). */
static dhole_err parse_line(dhole_trust *trust, const char *text, size_t end, struct entry *entry)
{
    size_t length = end - entry->start, words_length;
    char line[dhole__trust_line_max + 1];
    char *words[words_max];
    dhole_err err;
    int count;

    if (length > dhole__trust_line_max)
        return dhole__fail(DHOLE_ERR_FORMAT, "more than %d bytes", dhole__trust_line_max);
    memcpy(line, text + entry->start, length);
    line[length] = '\0';
    if (strlen(line) != length)
        return dhole__fail(DHOLE_ERR_FORMAT, "a zero byte");
    count = split(line, words, &words_length);
    if (count == 0)
        return DHOLE_OK;
    entry->words_end = entry->start + words_length;
    err = read_words(words, count, &entry->machine);
    if (!err)
        err = check_new(trust, &entry->machine);
    if (!err)
        err = dhole__buf_add(&trust->entries, entry, sizeof *entry);
    if (err == DHOLE_ERR_LIMIT)
        err = dhole__fail(err, "more than %d machines", dhole__trust_machines_max);
    return err;
}

static dhole_err parse_lines(dhole_trust *trust, const char *text, size_t length, const char *what)
{
    struct entry entry = {0};
    dhole_err err = DHOLE_OK;

    while (!err && entry.next < length) {
        const char *start = text + entry.next;
        const char *end = memchr(start, '\n', length - entry.next);
        entry.line++;
        entry.start = entry.next;
        entry.next = end != NULL ? (size_t)(end + 1 - text) : length;
        err = parse_line(trust, text, end != NULL ? entry.next - 1 : length, &entry);
    }
    if (!err || err == DHOLE_ERR_NOMEM)
        return err;
    return dhole__fail_in(DHOLE_ERR_FORMAT, "%s, line %zu", what, entry.line);
}

dhole_err dhole__trust_parse(const char *text, size_t length, const char *what, dhole_trust **out)
{
    dhole_trust *trust = dhole__sys.calloc(1, sizeof *trust);
    dhole_err err;

    if (trust == NULL)
        return dhole__fail_nomem(sizeof *trust, "a list of trusted machines");
    dhole__buf_init(&trust->entries, dhole__trust_machines_max * sizeof(struct entry));
    if (length > dhole__trust_file_max)
        err = dhole__fail(DHOLE_ERR_FORMAT, "%s is longer than %d bytes", what,
                          dhole__trust_file_max);
    else
        err = parse_lines(trust, text, length, what);
    if (err) {
        dhole_trust_free(trust);
        return err;
    }
    *out = trust;
    return DHOLE_OK;
}

/* ---- Changing ---- */

/* Puts n bytes in place of text[from..to). */
static dhole_err splice(struct dhole__buf *text, size_t from, size_t to, const char *bytes,
                        size_t n)
{
    size_t tail = text->len - to;
    dhole_err err = n > to - from ? dhole__buf_add(text, NULL, n - (to - from)) : DHOLE_OK;

    if (err)
        return err;
    memmove(text->data + from + n, text->data + to, tail);
    memcpy(text->data + from, bytes, n);
    text->len = from + n + tail;
    return DHOLE_OK;
}

static int format(const dhole_trusted *machine, char line[static dhole__trust_line_max])
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];

    dhole_fingerprint(&machine->pin, fingerprint);
    return snprintf(line, dhole__trust_line_max, "%s %s%s%s", machine->name, fingerprint,
                    machine->address[0] != '\0' ? " " : "", machine->address);
}

static dhole_err append(struct dhole__buf *text, const dhole_trust *trust,
                        const dhole_trusted *machine)
{
    char line[dhole__trust_line_max + 2] = "\n";
    bool unended = text->len > 0 && text->data[text->len - 1] != '\n';
    int length;

    if (count_of(trust) >= dhole__trust_machines_max)
        return dhole__fail(DHOLE_ERR_LIMIT, "%d machines are trusted, which is the most",
                           dhole__trust_machines_max);
    length = 1 + format(machine, line + 1);
    line[length] = '\n';
    return dhole__buf_add(text, unended ? line : line + 1, (size_t)length + unended);
}

/* Only its words, so that a comment on the line stays. */
static dhole_err replace(struct dhole__buf *text, const struct entry *entry,
                         const dhole_trusted *machine)
{
    char line[dhole__trust_line_max];
    size_t length;

    if (machine->address[0] == '\0' || strcmp(machine->address, entry->machine.address) == 0)
        return DHOLE_OK;
    length = (size_t)format(machine, line);
    if (length + (entry->next - entry->words_end) > dhole__trust_line_max)
        return dhole__fail(DHOLE_ERR_LIMIT, "line %zu is too long for another address",
                           entry->line);
    return splice(text, entry->start, entry->words_end, line, length);
}

static dhole_err changed_key(const struct entry *entry, const dhole_trusted *machine)
{
    char old[dhole__pin_text_size], new[dhole__pin_text_size];

    return dhole__fail(DHOLE_ERR_AUTH,
                       "THE KEY OF %s IS ANOTHER ONE: %s is trusted, and this is %s. Somebody may "
                       "be posing as that machine. If you know that it got a new key, first take "
                       "the old one out with dhole trust remove %s",
                       machine->name, dhole__pin_text(&entry->machine.pin, old),
                       dhole__pin_text(&machine->pin, new), machine->name);
}

static dhole_err add(struct dhole__buf *text, const dhole_trust *trust,
                     const dhole_trusted *machine)
{
    const struct entry *named = by_name(trust, machine->name);
    const struct entry *keyed = by_pin(trust, &machine->pin);

    if (named != NULL && named != keyed)
        return changed_key(named, machine);
    if (named != NULL)
        return replace(text, named, machine);
    if (keyed != NULL)
        return dhole__fail(
            DHOLE_ERR_INVALID,
            "the key of %s is trusted under the name %s: dhole trust remove %s first",
            machine->name, keyed->machine.name, keyed->machine.name);
    return append(text, trust, machine);
}

dhole_err dhole__trust_text_add(struct dhole__buf *text, const char *what,
                                const dhole_trusted *machine)
{
    dhole_trust *trust;
    dhole_err err = dhole__check_name(machine->name);

    if (!err)
        err = dhole__check_address(machine->address);
    if (!err)
        err = dhole__trust_parse((const char *)text->data, text->len, what, &trust);
    if (err)
        return err;
    err = add(text, trust, machine);
    dhole_trust_free(trust);
    return err;
}

dhole_err dhole__trust_text_remove(struct dhole__buf *text, const char *what, const char *name)
{
    const struct entry *entry;
    dhole_trust *trust;
    dhole_err err = dhole__trust_parse((const char *)text->data, text->len, what, &trust);

    if (err)
        return err;
    entry = by_name(trust, name);
    if (entry != NULL)
        err = splice(text, entry->start, entry->next, "", 0);
    else
        err = dhole__fail(DHOLE_ERR_INVALID, "no machine \"%.80s\" is trusted", name);
    dhole_trust_free(trust);
    return err;
}
