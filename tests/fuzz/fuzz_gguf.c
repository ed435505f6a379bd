/* Any bytes as a model file: it is refused, or all that it describes can be used. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "model/model.h"

/* Reads the ends of a tensor's data, for the sanitizer. */
static void touch(const struct dhole__tensor *t)
{
    volatile const uint8_t *p = t->data;

    (void)p[0];
    (void)p[t->bytes - 1];
}

static void use_weights(const dhole_model *model)
{
    const struct dhole__llama *l = dhole__model_llama(model);

    touch(&l->embedding);
    touch(&l->output_norm);
    touch(&l->output);
    for (int i = 0; i < l->layers; i++) {
        const struct dhole__llama_layer *layer = &l->layer[i];
        touch(&layer->attn_norm);
        touch(&layer->q);
        touch(&layer->k);
        touch(&layer->v);
        touch(&layer->attn_output);
        touch(&layer->ffn_norm);
        touch(&layer->gate);
        touch(&layer->up);
        touch(&layer->down);
    }
}

static void use_tokenizer(const dhole_model *model)
{
    static const char text[] = "a ab <|im_end|> hello \xe2\x82\xac\xff 123";
    int32_t *ids;
    size_t count, length;

    if (dhole_tokenize(model, text, sizeof text - 1, true, &ids, &count) == DHOLE_OK) {
        for (size_t i = 0; i < count; i++)
            if (dhole_token_bytes(model, ids[i], &length) == NULL)
                abort();
        free(ids);
    }
    if (dhole_prompt_tokens(model, NULL, "ab", false, &ids, &count) == DHOLE_OK)
        free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dhole_model *model;
    dhole_model_info info;

    if (dhole__model_open_memory(data, size, &model) != DHOLE_OK)
        return 0;
    dhole_model_describe(model, &info);
    if (strlen(info.name) > 255)
        abort();
    use_weights(model);
    use_tokenizer(model);
    dhole_model_close(model);
    return 0;
}
