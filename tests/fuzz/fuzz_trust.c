/* Any bytes as a trust file: it is refused with a line's number, or machines can be added and
 * removed and all else stays as it was. */
#include <stdlib.h>
#include <string.h>

#include "cluster/trust.h"
#include "fuzz.h"

static void require(bool condition)
{
    if (!condition)
        abort();
}

static dhole_trust *parse(const struct dhole__buf *text)
{
    dhole_trust *trust;

    require(dhole__trust_parse((const char *)text->data, text->len, "trusted", &trust) == DHOLE_OK);
    return trust;
}

/* With another address each machine is still the same one. */
static void change_addresses(struct dhole__buf *text, const dhole_trust *before)
{
    for (size_t i = 0; i < dhole_trust_count(before) && i < 4; i++) {
        dhole_trusted machine = *dhole_trust_at(before, i);
        dhole_trust *after;
        const dhole_trusted *found;
        dhole_err err;
        strcpy(machine.address, "h:1");
        err = dhole__trust_text_add(text, "trusted", &machine);
        if (err == DHOLE_ERR_LIMIT) /* a long comment on its line */
            continue;
        require(err == DHOLE_OK);
        after = parse(text);
        found = dhole_trust_by_name(after, machine.name);
        require(dhole_trust_count(after) == dhole_trust_count(before) && found != NULL);
        require(memcmp(&found->pin, &machine.pin, sizeof machine.pin) == 0);
        require(strcmp(found->address, "h:1") == 0);
        dhole_trust_free(after);
    }
}

/* One that is added and removed again leaves the text as it was, but for a line's end. */
static void add_and_remove(struct dhole__buf *text, const dhole_trust *before)
{
    dhole_trusted machine = {.name = "fuzzer-s-own", .pin = {{0xfe, 0xed, 0xfa, 0xce}}};
    size_t length = text->len;
    uint8_t *copy = malloc(length + 1);

    require(copy != NULL);
    memcpy(copy, length > 0 ? text->data : copy, length);
    if (dhole_trust_by_name(before, machine.name) == NULL &&
        dhole_trust_by_pin(before, &machine.pin) == NULL &&
        dhole__trust_text_add(text, "trusted", &machine) == DHOLE_OK) {
        require(dhole__trust_text_remove(text, "trusted", machine.name) == DHOLE_OK);
        require(text->len == length || (text->len == length + 1 && text->data[length] == '\n'));
        require(memcmp(copy, text->data, length) == 0);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dhole__buf text;
    dhole_trust *trust;

    if (dhole__trust_parse((const char *)data, size, "trusted", &trust) != DHOLE_OK)
        return 0;
    dhole__buf_init(&text, dhole__trust_file_max);
    require(dhole__buf_add(&text, data, size) == DHOLE_OK);
    add_and_remove(&text, trust);
    change_addresses(&text, trust);
    dhole__buf_free(&text);
    dhole_trust_free(trust);
    return 0;
}
