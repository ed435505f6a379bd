#include "group/roll.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"

/* Little-endian: round 4, phase 1, number of ports 1, zero 2, members 8, nonce 8, the ports. */
void dhole__stance_encode(const struct dhole__stance *stance,
                          uint8_t out[static dhole__stance_size])
{
    memset(out, 0, dhole__stance_size);
    dhole__put32(out, stance->round);
    out[4] = (uint8_t)stance->phase;
    out[5] = (uint8_t)stance->port_count;
    dhole__put64(out + 8, stance->members);
    dhole__put64(out + 16, stance->nonce);
    for (int i = 0; i < stance->port_count; i++)
        dhole__put16(out + 24 + 2 * i, stance->port[i]);
}

bool dhole__stance_decode(const uint8_t in[static dhole__stance_size], struct dhole__stance *out)
{
    if (dhole__get32(in) == 0 || in[4] > DHOLE__HAS_AGREED || in[5] > dhole__rails_max)
        return false;
    *out = (struct dhole__stance){.round = dhole__get32(in),
                                  .phase = (enum dhole__phase)in[4],
                                  .members = dhole__get64(in + 8),
                                  .nonce = dhole__get64(in + 16),
                                  .port_count = in[5]};
    for (int i = 0; i < out->port_count; i++)
        out->port[i] = (uint16_t)dhole__get16(in + 24 + 2 * i);
    return true;
}

void dhole__roll_init(struct dhole__roll *roll)
{
    *roll = (struct dhole__roll){.bell = -1};
    pthread_mutex_init(&roll->lock, NULL);
}

void dhole__roll_destroy(struct dhole__roll *roll)
{
    pthread_mutex_destroy(&roll->lock);
}

static bool has_cause(const struct dhole__roll *roll)
{
    if (roll->bell_members == 0 || (roll->bell_members & roll->gone) != 0)
        return true;
    for (int rank = 0; rank < dhole__rank_max; rank++)
        if ((roll->bell_members >> rank & 1) && roll->stance[rank].round > roll->bell_round)
            return true;
    return false;
}

/* Called with the lock held. A full pipe has rung. */
static void ring(struct dhole__roll *roll)
{
    if (roll->bell >= 0 && has_cause(roll) && write(roll->bell, "", 1) < 0 && errno != EAGAIN)
        dhole__log(DHOLE__LOG_ERROR, "cannot wake the caller of dhole_shrink");
}

void dhole__roll_hear(struct dhole__roll *roll, int rank, const struct dhole__stance *stance)
{
    pthread_mutex_lock(&roll->lock);
    roll->stance[rank] = *stance;
    ring(roll);
    pthread_mutex_unlock(&roll->lock);
}

void dhole__roll_strike(struct dhole__roll *roll, int rank)
{
    pthread_mutex_lock(&roll->lock);
    roll->gone |= (uint64_t)1 << rank;
    ring(roll);
    pthread_mutex_unlock(&roll->lock);
}

void dhole__roll_look(struct dhole__roll *roll, struct dhole__stance stance[static dhole__rank_max],
                      uint64_t *gone)
{
    pthread_mutex_lock(&roll->lock);
    memcpy(stance, roll->stance, sizeof roll->stance);
    *gone = roll->gone;
    pthread_mutex_unlock(&roll->lock);
}

void dhole__roll_set_bell(struct dhole__roll *roll, int fd, uint64_t members, uint32_t round)
{
    pthread_mutex_lock(&roll->lock);
    roll->bell = fd;
    roll->bell_members = members;
    roll->bell_round = round;
    ring(roll);
    pthread_mutex_unlock(&roll->lock);
}
