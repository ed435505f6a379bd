#include "model/llama.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "model/model.h"

/* Extents that a tensor's shape is checked against. */
enum extent { ONE, HIDDEN, Q, KV, FFN, VOCAB, ROPE, extents };

enum kind { WEIGHT, F32_ONLY };

struct slot {
    const char *name;
    size_t at; /* of the struct dhole__tensor in its owner */
    enum extent shape[2];
    enum kind kind;
    bool optional;
};

#define GLOBAL(member) offsetof(struct tensors, member)
#define LAYER(member)  offsetof(struct dhole__llama_layer, member)

struct tensors {
    struct dhole__tensor embedding, output_norm, output, rope_freqs;
};

static const struct slot global_slots[] = {
    {"token_embd.weight", GLOBAL(embedding), {HIDDEN, VOCAB}, WEIGHT, false},
    {"output_norm.weight", GLOBAL(output_norm), {HIDDEN, ONE}, F32_ONLY, false},
    {"output.weight", GLOBAL(output), {HIDDEN, VOCAB}, WEIGHT, true},
    {"rope_freqs.weight", GLOBAL(rope_freqs), {ROPE, ONE}, F32_ONLY, true},
};

static const struct slot layer_slots[] = {
    {"attn_norm.weight", LAYER(attn_norm), {HIDDEN, ONE}, F32_ONLY, false},
    {"attn_q.weight", LAYER(q), {HIDDEN, Q}, WEIGHT, false},
    {"attn_k.weight", LAYER(k), {HIDDEN, KV}, WEIGHT, false},
    {"attn_v.weight", LAYER(v), {HIDDEN, KV}, WEIGHT, false},
    {"attn_output.weight", LAYER(attn_output), {Q, HIDDEN}, WEIGHT, false},
    {"ffn_norm.weight", LAYER(ffn_norm), {HIDDEN, ONE}, F32_ONLY, false},
    {"ffn_gate.weight", LAYER(gate), {HIDDEN, FFN}, WEIGHT, false},
    {"ffn_up.weight", LAYER(up), {HIDDEN, FFN}, WEIGHT, false},
    {"ffn_down.weight", LAYER(down), {FFN, HIDDEN}, WEIGHT, false},
};

enum {
    global_count = sizeof global_slots / sizeof *global_slots,
    layer_count = sizeof layer_slots / sizeof *layer_slots
};

static const struct slot *find_slot(const struct slot *slots, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(slots[i].name, name) == 0)
            return &slots[i];
    return NULL;
}

static struct dhole__tensor *at(void *owner, const struct slot *slot)
{
    return (struct dhole__tensor *)((char *)owner + slot->at);
}

static dhole_err check_tensor(const struct dhole__llama *l, const struct dhole__tensor *t,
                              const struct slot *slot)
{
    const uint64_t extent[extents] = {
        [ONE] = 1,
        [HIDDEN] = (uint64_t)l->hidden,
        [Q] = (uint64_t)l->heads * (uint64_t)l->head_dim,
        [KV] = (uint64_t)l->kv_heads * (uint64_t)l->head_dim,
        [FFN] = (uint64_t)l->ffn,
        [VOCAB] = (uint64_t)l->vocab,
        [ROPE] = (uint64_t)l->rope_dims / 2,
    };
    uint64_t n0 = extent[slot->shape[0]], n1 = extent[slot->shape[1]];

    if (t->shape[0] != n0 || t->shape[1] != n1 || t->shape[2] != 1 || t->shape[3] != 1)
        return dhole__fail(DHOLE_ERR_FORMAT,
                           "tensor %s has the shape {%" PRIu64 ", %" PRIu64 ", %" PRIu64
                           ", %" PRIu64 "}, expected {%" PRIu64 ", %" PRIu64 "}",
                           t->name, t->shape[0], t->shape[1], t->shape[2], t->shape[3], n0, n1);
    if (slot->kind == F32_ONLY && t->type != DHOLE__F32)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "tensor %s is %s; only F32 is supported there",
                           t->name, dhole__ttype_name(t->type));
    return DHOLE_OK;
}

/* Splits "blk.N.NAME"; NULL when the name is not of that form. */
static const char *layer_name(const char *name, int layers, int *layer)
{
    char *end;
    unsigned long n;

    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9')
        return NULL;
    n = strtoul(name + 4, &end, 10);
    if (*end != '.' || n >= (unsigned long)layers || (name[4] == '0' && end != name + 5))
        return NULL;
    *layer = (int)n;
    return end + 1;
}

/* Puts a tensor where it belongs; one that nothing here computes with would be left out of
 * the result silently, so it is refused. */
static dhole_err take_tensor(struct dhole__llama *l, struct tensors *global,
                             const struct dhole__tensor *t)
{
    void *owner = global;
    const struct slot *slot;
    int layer;
    const char *name = layer_name(t->name, l->layers, &layer);
    dhole_err err;

    if (name != NULL) {
        owner = &l->layer[layer];
        slot = find_slot(layer_slots, layer_count, name);
        if (slot == NULL && strcmp(name, "attn_rot_embd.weight") == 0)
            return DHOLE_OK; /* the default frequencies, written out by old converters */
    } else {
        slot = find_slot(global_slots, global_count, t->name);
    }
    if (slot == NULL) {
        size_t n = strlen(t->name);
        bool bias = n > 5 && strcmp(t->name + n - 5, ".bias") == 0;
        return dhole__fail(DHOLE_ERR_UNSUPPORTED, "tensor %s: %s", t->name,
                           bias ? "biases are not supported"
                                : "not a part of the Llama architecture that is supported");
    }
    err = check_tensor(l, t, slot);
    if (!err)
        *at(owner, slot) = *t;
    return err;
}

static dhole_err check_complete(struct dhole__llama *l, struct tensors *global)
{
    for (int i = 0; i < global_count; i++)
        if (!global_slots[i].optional && at(global, &global_slots[i])->data == NULL)
            return dhole__fail(DHOLE_ERR_FORMAT, "tensor %s is missing", global_slots[i].name);
    for (int layer = 0; layer < l->layers; layer++)
        for (int i = 0; i < layer_count; i++)
            if (at(&l->layer[layer], &layer_slots[i])->data == NULL)
                return dhole__fail(DHOLE_ERR_FORMAT, "tensor blk.%d.%s is missing", layer,
                                   layer_slots[i].name);
    return DHOLE_OK;
}

static dhole_err take_rope_freqs(struct dhole__llama *l, const struct dhole__tensor *t)
{
    l->rope_freqs = t->data;
    for (int i = 0; l->rope_freqs != NULL && i < l->rope_dims / 2; i++)
        if (!(l->rope_freqs[i] > 0 && isfinite(l->rope_freqs[i])))
            return dhole__fail(DHOLE_ERR_FORMAT,
                               "element %d of tensor %s is %g, not a positive number", i, t->name,
                               (double)l->rope_freqs[i]);
    return DHOLE_OK;
}

static dhole_err read_weights(const struct dhole__gguf *g, struct dhole__llama *l)
{
    struct tensors global = {0};
    dhole_err err = DHOLE_OK;

    l->layer = dhole__sys.calloc((size_t)l->layers, sizeof *l->layer);
    if (l->layer == NULL)
        return dhole__fail_nomem((size_t)l->layers * sizeof *l->layer, "the list of layers");
    for (size_t i = 0; i < dhole__gguf_tensor_count(g) && !err; i++)
        err = take_tensor(l, &global, dhole__gguf_tensor(g, i));
    if (!err)
        err = check_complete(l, &global);
    if (!err)
        err = take_rope_freqs(l, &global.rope_freqs);
    l->embedding = global.embedding;
    l->output_norm = global.output_norm;
    l->output = global.output.data != NULL ? global.output : global.embedding;
    return err;
}

dhole_err dhole__llama_load(const struct dhole__gguf *g, struct dhole__llama *out)
{
    dhole_err err;

    *out = (struct dhole__llama){0};
    err = dhole__llama_hyperparameters(g, out);
    if (!err)
        err = read_weights(g, out);
    if (err)
        dhole__llama_unload(out);
    return err;
}

void dhole__llama_unload(struct dhole__llama *llama)
{
    free(llama->layer);
    llama->layer = NULL;
}
