#include "transport/shm/segment.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/sys.h"

/* What is written by different sides, or at different times, is kept apart by as much as a
 * processor may fetch at once. */
enum { apart = 128, page = 64 << 10 };

/* Then come lines[2][dhole__line_count] and bulk[2][bulk_size]; index 0 is what side 0 sends. */
struct dhole__segment_head {
    uint8_t token[dhole__token_size];
    struct {
        _Alignas(apart) _Atomic uint64_t consumed;
    } direction[2];
    struct {
        _Alignas(apart) _Atomic uint32_t asleep;
    } side[2];
    _Alignas(apart) struct dhole__line lines[2][dhole__line_count];
};

static size_t size_of(size_t bulk_size)
{
    return (sizeof(struct dhole__segment_head) + 2 * bulk_size + page - 1) & ~(size_t)(page - 1);
}

static dhole_err map(int fd, size_t bulk_size, struct dhole__segment *out)
{
    size_t size = size_of(bulk_size);
    void *memory = dhole__sys.mmap(NULL, size, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | dhole__map_populate, fd, 0);

    if (memory == MAP_FAILED)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "mapping %zu bytes of shared memory", size);
    *out = (struct dhole__segment){memory, bulk_size};
    return DHOLE_OK;
}

dhole_err dhole__segment_make(size_t bulk_size, uint8_t offer[static dhole__offer_size], int *fd,
                              struct dhole__segment *out)
{
    uint8_t *token = offer + 8;
    char *name = (char *)token + dhole__token_size;
    dhole_err err;

    memset(offer, 0, dhole__offer_size);
    *fd = dhole__shared_make(size_of(bulk_size), name);
    if (*fd < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "making %zu bytes of shared memory",
                                 size_of(bulk_size));
    if (getentropy(token, dhole__token_size) != 0)
        err = dhole__fail_errno(DHOLE_ERR_SYSTEM, "a random token for shared memory");
    else
        err = map(*fd, bulk_size, out);
    if (err) {
        dhole__segment_hide(offer, *fd);
        return err;
    }
    dhole__put64(offer, size_of(bulk_size));
    memcpy(out->head->token, token, dhole__token_size);
    return DHOLE_OK;
}

void dhole__segment_hide(const uint8_t offer[static dhole__offer_size], int fd)
{
    dhole__shared_unname((const char *)offer + 8 + dhole__token_size);
    close(fd);
}

/* The name says which memory; only the token says that it is the right one, as a number of a
 * process or a descriptor can mean something else here than there. */
dhole_err dhole__segment_open(const uint8_t offer[static dhole__offer_size], size_t bulk_size,
                              struct dhole__segment *out)
{
    const uint8_t *token = offer + 8;
    char name[dhole__shared_name_max];
    struct dhole__segment segment;
    uint8_t size[8];
    dhole_err err;
    int fd;

    dhole__put64(size, size_of(bulk_size));
    if (memcmp(offer, size, sizeof size) != 0)
        return dhole__fail(DHOLE_ERR_PROTOCOL,
                           "the peer offered no shared memory, or of another size");
    memcpy(name, token + dhole__token_size, sizeof name);
    name[sizeof name - 1] = '\0';
    fd = dhole__shared_open(name, size_of(bulk_size));
    if (fd < 0)
        return dhole__fail_errno(DHOLE_ERR_UNSUPPORTED, "opening shared memory %s", name);
    err = map(fd, bulk_size, &segment);
    close(fd);
    if (err)
        return err;
    if (memcmp(segment.head->token, token, dhole__token_size) != 0) {
        dhole__segment_close(&segment);
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "shared memory %s is not what was offered", name);
    }
    *out = segment;
    return DHOLE_OK;
}

void dhole__segment_close(struct dhole__segment *segment)
{
    if (segment->head != NULL)
        munmap(segment->head, size_of(segment->bulk_size));
    segment->head = NULL;
}

void dhole__segment_rings(const struct dhole__segment *segment, int side,
                          struct dhole__ring_out *out, struct dhole__ring_in *in)
{
    struct dhole__segment_head *head = segment->head;
    uint8_t *bulk = (uint8_t *)(head + 1);

    *out = (struct dhole__ring_out){
        .lines = head->lines[side],
        .bulk = bulk + (size_t)side * segment->bulk_size,
        .consumed = &head->direction[side].consumed,
        .bulk_size = segment->bulk_size,
        .bulk_free = segment->bulk_size,
    };
    *in = (struct dhole__ring_in){
        .lines = head->lines[!side],
        .bulk = bulk + (size_t)!side * segment->bulk_size,
        .consumed = &head->direction[!side].consumed,
        .bulk_size = segment->bulk_size,
        .bulk_batch = segment->bulk_size / dhole__ring_batch,
    };
}

_Atomic uint32_t *dhole__segment_asleep(const struct dhole__segment *segment, int side)
{
    return &segment->head->side[side].asleep;
}
