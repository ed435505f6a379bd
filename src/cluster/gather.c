/* An all_gather over the session: each rank sends its piece to the coordinator, which sends all
 * pieces to all. It is what a group needs to be made, and no more. */
#include <string.h>

#include "base/hex.h"
#include "cluster/session.h"

static bool decode(const char *text, uint8_t bytes[static dhole__piece_max], size_t *size)
{
    if (text == NULL || strlen(text) > 2 * dhole__piece_max)
        return false;
    *size = strlen(text) / 2;
    return dhole__hex_read(text, *size, bytes);
}

static json_t *pack_piece(const dhole_cluster *s, const struct dhole__piece *piece)
{
    char text[2 * dhole__piece_max + 1];

    dhole__hex_write(piece->bytes, piece->size, text);
    return json_pack("{s:I, s:I, s:s}", "epoch", (json_int_t)s->roster.epoch, "number",
                     (json_int_t)piece->number, "data", text);
}

static json_t *pack_all(const dhole_cluster *s, int rank)
{
    json_t *data = json_array();

    for (int other = 0; other < s->size; other++) {
        char text[2 * dhole__piece_max + 1];
        dhole__hex_write(s->member[other].piece.bytes, s->member[other].piece.size, text);
        json_array_append_new(data, json_string(text));
    }
    return json_pack("{s:I, s:I, s:I, s:o}", "epoch", (json_int_t)s->roster.epoch, "number",
                     (json_int_t)s->member[rank].piece.number, "round", (json_int_t)s->gathers,
                     "data", data);
}

void dhole__gather_take_piece(dhole_cluster *s, int rank, const json_t *json)
{
    struct dhole__piece *piece = &s->member[rank].piece;
    size_t size;

    if (!decode(json_string_value(json_object_get(json, "data")), piece->bytes, &size))
        return;
    piece->size = size;
    piece->number = (uint32_t)json_integer_value(json_object_get(json, "number"));
    piece->here = true;
}

static void give_to_program(dhole_cluster *s, int rank, const uint8_t *bytes, size_t size)
{
    memset(s->all[rank], 0, sizeof s->all[rank]);
    memcpy(s->all[rank], bytes, size);
}

static void finish(dhole_cluster *s, uint32_t round)
{
    s->round = round;
    s->gathered = true;
    pthread_cond_broadcast(&s->changed);
}

/* At the coordinator, when all pieces are here. */
static void complete(dhole_cluster *s)
{
    for (int rank = 0; rank < s->size; rank++)
        if (!s->member[rank].piece.here)
            return;
    s->gathers++;
    for (int rank = 1; rank < s->size; rank++)
        dhole__session_say(s, s->member[rank].wire, DHOLE__NOTE_PIECES, pack_all(s, rank));
    for (int rank = 0; rank < s->size; rank++) {
        struct dhole__piece *piece = &s->member[rank].piece;
        give_to_program(s, rank, piece->bytes, piece->size);
        piece->here = false;
    }
    finish(s, s->gathers);
}

void dhole__gather_look(dhole_cluster *s)
{
    struct dhole__piece *own = &s->member[s->rank].piece;

    if (s->phase != DHOLE__EPOCH_LIVE)
        return;
    if (s->is_coordinator) {
        complete(s);
    } else if (own->here && !own->told) {
        own->told = true;
        dhole__session_say(s, s->member[0].wire, DHOLE__NOTE_PIECE, pack_piece(s, own));
    }
}

void dhole__gather_take_all(dhole_cluster *s, const json_t *json)
{
    struct dhole__piece *own = &s->member[s->rank].piece;
    const json_t *data = json_object_get(json, "data");

    if (!own->here || json_integer_value(json_object_get(json, "number")) != own->number ||
        json_array_size(data) != (size_t)s->size)
        return;
    for (int rank = 0; rank < s->size; rank++) {
        uint8_t bytes[dhole__piece_max];
        size_t size;
        if (!decode(json_string_value(json_array_get(data, (size_t)rank)), bytes, &size))
            return;
        give_to_program(s, rank, bytes, size);
    }
    own->here = false;
    finish(s, (uint32_t)json_integer_value(json_object_get(json, "round")));
}

dhole_err dhole__session_gather(dhole_cluster *s, const void *own, void *all, size_t size,
                                dhole__deadline deadline, uint32_t *round)
{
    struct dhole__piece *piece = &s->member[s->rank].piece;
    dhole_err err;

    if (size > dhole__piece_max)
        return dhole__fail(DHOLE_ERR_LIMIT, "a piece of %zu bytes: at most %d go over a session",
                           size, dhole__piece_max);
    pthread_mutex_lock(&s->lock);
    err = dhole__session_check(s);
    if (!err) {
        piece->here = true;
        piece->told = false;
        piece->number++;
        piece->size = size;
        memcpy(piece->bytes, own, size);
        s->gathered = false;
        dhole__mailbox_wake(&s->box);
    }
    while (!err && !s->gathered) {
        if (!dhole__session_await(s, deadline))
            err = dhole__fail(DHOLE_ERR_TIMEOUT, "not all ranks of the session call it");
        else if (!s->gathered) /* whoever has it may have left by now */
            err = dhole__session_check(s);
    }
    piece->here = piece->here && !err;
    for (int rank = 0; rank < s->size && !err && size > 0; rank++)
        memcpy((uint8_t *)all + (size_t)rank * size, s->all[rank], size);
    *round = s->round;
    pthread_mutex_unlock(&s->lock);
    return err;
}
