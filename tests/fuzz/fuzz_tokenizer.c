/* Any bytes as a text, for each pre-tokenizer: ordinary text comes back whole from its tokens,
 * and never has a control token. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "gguf_writer.h"
#include "model/model.h"

static const dhole_model *model_of(unsigned which)
{
    static const char *const names[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    static struct gguf_writer files[4];
    static dhole_model *models[4];

    if (models[which] == NULL) {
        struct gguf_writer *w = &files[which];
        gguf_tiny_start(w, "tokenizer.ggml.pre");
        gguf_text(w, "tokenizer.ggml.pre", names[which]);
        gguf_finish(w);
        if (dhole__model_open_memory(w->data, w->size, &models[which]) != DHOLE_OK)
            abort();
    }
    return models[which];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const dhole_model *model;
    const char *text = (const char *)data + 1, *bytes;
    int32_t *ids;
    size_t count, at = 0, n;

    if (size == 0)
        return 0;
    model = model_of(data[0] & 3);
    size--;
    if (dhole_tokenize(model, text, size, false, &ids, &count) != DHOLE_OK)
        abort();
    for (size_t i = 0; i < count; i++) {
        bytes = dhole_token_bytes(model, ids[i], &n);
        if (ids[i] >= tiny_end_of_text || n > size - at || memcmp(bytes, text + at, n) != 0)
            abort();
        at += n;
    }
    if (at != size)
        abort();
    free(ids);
    if (dhole_tokenize(model, text, size, true, &ids, &count) != DHOLE_OK || count > size)
        abort();
    free(ids);
    return 0;
}
