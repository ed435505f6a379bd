/* What the members of a session say to each other on the CONTROL channel of their links: the
 * message's tag is the kind, its content a JSON object, but for WORD, whose content is the
 * program's. docs/protocol-session.md has them. */
#ifndef DHOLE_CLUSTER_NOTES_H
#define DHOLE_CLUSTER_NOTES_H

#include <stdint.h>

enum dhole__note {
    DHOLE__NOTE_JOIN = 1, /* to the coordinator, first: {name, address} */
    DHOLE__NOTE_ROSTER,   /* from the coordinator: {session, epoch, rank, ranks} */
    DHOLE__NOTE_PAIR,     /* first on a link between two others, and back: {session, epoch, rank} */
    DHOLE__NOTE_STEP,     /* to the coordinator, and back when all are there: {epoch, step} */
    DHOLE__NOTE_AGAIN,    /* from the coordinator: hang up and call again, for the next epoch */
    DHOLE__NOTE_LOST,     /* between the coordinator and others: {epoch, rank, why} */
    DHOLE__NOTE_PING,     /* {number} */
    DHOLE__NOTE_PONG,     /* {number, model_loaded, in_flight, memory_pressure} */
    DHOLE__NOTE_PIECE,    /* to the coordinator: {epoch, number, data} */
    DHOLE__NOTE_PIECES,   /* from the coordinator: {epoch, number, round, data: [...]} */
    DHOLE__NOTE_WORD,
    DHOLE__NOTE_BYE /* the last one: {why, end}; end: the coordinator ends the session */
};

enum {
    dhole__note_max = 48 << 10, /* bytes of any of them */
    dhole__piece_max = 128,     /* of an all_gather over the session, each rank's */
    dhole__why_size = 256
};

#endif
