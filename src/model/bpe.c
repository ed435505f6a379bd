#include "model/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

enum { merges_max = 1 << 22, merge_text_max = 4096 };

/* A token of the piece, in a list of those that are left. A node that became a part of its left
 * neighbour has token -1. */
struct node {
    int32_t token;
    int32_t previous, next; /* -1 at the ends */
};

/* A merge of a node with its next one, possible when it was found; it is out of date when
 * one of the two has changed since. */
struct candidate {
    uint32_t rank;
    int32_t node;
    int32_t left, right, token;
};

static size_t hash(int32_t left, int32_t right)
{
    uint64_t h = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;

    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
    return (size_t)((h ^ h >> 29) * 0xbf58476d1ce4e5b9u >> 24);
}

/* Where the merge of that pair is in the table, or the free place where it would be. */
static struct dhole__merge *locate(const struct dhole__bpe *bpe, int32_t left, int32_t right)
{
    size_t i = hash(left, right) & bpe->mask;

    while (bpe->table[i].token >= 0 && (bpe->table[i].left != left || bpe->table[i].right != right))
        i = (i + 1) & bpe->mask;
    return &bpe->table[i];
}

static dhole_err bad_merge(uint32_t rank, const char *what)
{
    return dhole__fail(DHOLE_ERR_FORMAT, "merge %u of tokenizer.ggml.merges: %s", rank, what);
}

/* Reads "LEFT RIGHT". Of equal merges the first counts. A merge from or to a token that is
 * not ordinary text is left out, so that text never becomes a control token. */
static dhole_err add_merge(struct dhole__bpe *bpe, const struct dhole__vocab *vocab,
                           struct dhole__gguf_string text, uint32_t rank)
{
    const char *space = memchr(text.data, ' ', text.length);
    size_t n = space != NULL ? (size_t)(space - text.data) : 0;
    char joined[merge_text_max];
    struct dhole__merge m = {.rank = rank}, *place;

    if (text.length > sizeof joined)
        return bad_merge(rank, "too long");
    if (n == 0 || n + 1 == text.length)
        return bad_merge(rank, "not two names with a space between");
    memcpy(joined, text.data, n);
    memcpy(joined + n, space + 1, text.length - n - 1);
    m.left = dhole__vocab_find(vocab, (struct dhole__gguf_string){joined, n});
    m.right = dhole__vocab_find(vocab, (struct dhole__gguf_string){space + 1, text.length - n - 1});
    m.token = dhole__vocab_find(vocab, (struct dhole__gguf_string){joined, text.length - 1});
    if (m.left < 0 || m.right < 0 || m.token < 0)
        return bad_merge(rank, "a name that is not in the vocabulary");
    if (!dhole__vocab_is_text(vocab, m.left) || !dhole__vocab_is_text(vocab, m.right) ||
        !dhole__vocab_is_text(vocab, m.token))
        return DHOLE_OK;
    place = locate(bpe, m.left, m.right);
    if (place->token < 0)
        *place = m;
    return DHOLE_OK;
}

dhole_err dhole__bpe_load(const struct dhole__gguf *g, const struct dhole__vocab *vocab,
                          struct dhole__bpe *bpe)
{
    struct dhole__gguf_array merges;
    size_t places = 2;
    dhole_err err = dhole__gguf_elements(g, "tokenizer.ggml.merges", DHOLE__GGUF_REQUIRED,
                                         DHOLE__GGUF_STRING, &merges);

    *bpe = (struct dhole__bpe){0};
    if (err)
        return err;
    if (merges.count > merges_max)
        return dhole__fail(DHOLE_ERR_FORMAT, "%zu merges, at most %d are allowed", merges.count,
                           merges_max);
    while (places < 2 * merges.count)
        places *= 2;
    bpe->mask = places - 1;
    bpe->table = dhole__sys.malloc(places * sizeof *bpe->table);
    if (bpe->table == NULL)
        return dhole__fail_nomem(places * sizeof *bpe->table, "the merges");
    memset(bpe->table, -1, places * sizeof *bpe->table);
    for (uint32_t rank = 0; merges.count > 0 && !err; rank++)
        err = add_merge(bpe, vocab, dhole__gguf_next_string(&merges), rank);
    if (err)
        dhole__bpe_unload(bpe);
    return err;
}

void dhole__bpe_unload(struct dhole__bpe *bpe)
{
    free(bpe->table);
    bpe->table = NULL;
}

void dhole__bpe_scratch_free(struct dhole__bpe_scratch *scratch)
{
    free(scratch->nodes);
    free(scratch->heap);
    *scratch = (struct dhole__bpe_scratch){0};
}

/* Each merge takes one candidate and makes at most two, hence 2 * count are enough. */
static dhole_err reserve(struct dhole__bpe_scratch *scratch, size_t count)
{
    size_t capacity = count < 64 ? 64 : count;

    if (count <= scratch->capacity)
        return DHOLE_OK;
    dhole__bpe_scratch_free(scratch);
    scratch->nodes = dhole__sys.malloc(capacity * sizeof *scratch->nodes);
    scratch->heap = dhole__sys.malloc(2 * capacity * sizeof *scratch->heap);
    if (scratch->nodes == NULL || scratch->heap == NULL)
        return dhole__fail_nomem(capacity * (sizeof *scratch->nodes + 2 * sizeof *scratch->heap),
                                 "merging tokens");
    scratch->capacity = capacity;
    return DHOLE_OK;
}

/* Learned earlier, or the same merge further left. */
static bool comes_first(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->node < b->node;
}

static void push(struct candidate *heap, size_t *size, struct candidate c)
{
    size_t i = (*size)++;

    for (; i > 0 && comes_first(&c, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

static struct candidate pop(struct candidate *heap, size_t *size)
{
    struct candidate top = heap[0], last = heap[--*size];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < *size) {
        if (child + 1 < *size && comes_first(&heap[child + 1], &heap[child]))
            child++;
        if (!comes_first(&heap[child], &last))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Adds the merge of node i with its next one, if there is any. */
static void consider(const struct dhole__bpe *bpe, struct dhole__bpe_scratch *s, size_t *size,
                     int32_t i)
{
    const struct dhole__merge *m;

    if (i < 0 || s->nodes[i].next < 0)
        return;
    m = locate(bpe, s->nodes[i].token, s->nodes[s->nodes[i].next].token);
    if (m->token >= 0)
        push(s->heap, size, (struct candidate){m->rank, i, m->left, m->right, m->token});
}

dhole_err dhole__bpe_merge(const struct dhole__bpe *bpe, struct dhole__bpe_scratch *s,
                           int32_t *tokens, size_t *count)
{
    size_t size = 0, left = 0;
    dhole_err err = reserve(s, *count);

    if (err)
        return err;
    for (size_t i = 0; i < *count; i++)
        s->nodes[i] =
            (struct node){tokens[i], (int32_t)i - 1, i + 1 < *count ? (int32_t)i + 1 : -1};
    for (size_t i = 0; i < *count; i++)
        consider(bpe, s, &size, (int32_t)i);
    while (size > 0) {
        struct candidate c = pop(s->heap, &size);
        struct node *node = &s->nodes[c.node], *next = &s->nodes[node->next < 0 ? 0 : node->next];
        if (node->token != c.left || node->next < 0 || next->token != c.right)
            continue;
        node->token = c.token;
        node->next = next->next;
        next->token = -1;
        if (node->next >= 0)
            s->nodes[node->next].previous = c.node;
        consider(bpe, s, &size, node->previous);
        consider(bpe, s, &size, c.node);
    }
    for (int32_t i = 0; i >= 0 && *count > 0; i = s->nodes[i].next)
        tokens[left++] = s->nodes[i].token;
    *count = left;
    return DHOLE_OK;
}
