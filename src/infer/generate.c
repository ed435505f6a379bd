#include <stdlib.h>

#include "base/clock.h"
#include "base/sys.h"
#include "infer/engine.h"
#include "infer/sampling.h"

const char *dhole_stop_name(dhole_stop stop)
{
    switch (stop) {
    case DHOLE_STOP_END: return "end";
    case DHOLE_STOP_LENGTH: return "length";
    case DHOLE_STOP_CONTEXT: return "context";
    case DHOLE_STOP_CALLER: return "interrupted";
    }
    return "?";
}

struct run {
    dhole_engine *engine;
    struct dhole__sampler *sampler;
    float *logits; /* {vocab}, of the last token fed */
    dhole_on_token on_token;
    void *arg;
    dhole_generation result;
};

static dhole_err feed(struct run *r, const int32_t *tokens, size_t count, double *seconds)
{
    int64_t begin = dhole__now();
    dhole_err err = dhole_engine_forward(r->engine, tokens, count, r->logits);

    *seconds += (double)(dhole__now() - begin) / 1e9;
    return err;
}

/* Chooses tokens and feeds them back until something says stop. */
static dhole_err decode(struct run *r, size_t max_tokens)
{
    while (r->result.generated < max_tokens) {
        int32_t token = dhole__sample(r->sampler, r->logits);
        dhole_err err;

        if (dhole_token_is_end(r->engine->file, token)) {
            r->result.stop = DHOLE_STOP_END;
            return DHOLE_OK;
        }
        r->result.generated++;
        if (r->on_token != NULL && r->on_token(r->arg, token, r->logits) != 0) {
            r->result.stop = DHOLE_STOP_CALLER;
            return DHOLE_OK;
        }
        if (r->result.generated == max_tokens)
            break;
        if (dhole_engine_position(r->engine) == r->engine->context) {
            r->result.stop = DHOLE_STOP_CONTEXT;
            return DHOLE_OK;
        }
        err = feed(r, &token, 1, &r->result.decode_seconds);
        if (err)
            return err;
        r->result.decode_steps++;
    }
    r->result.stop = DHOLE_STOP_LENGTH;
    return DHOLE_OK;
}

dhole_err dhole_generate(dhole_engine *engine, const int32_t *prompt, size_t count,
                         size_t max_tokens, const dhole_sampling *sampling, dhole_on_token on_token,
                         void *arg, dhole_generation *result)
{
    const size_t vocab = (size_t)engine->model->vocab;
    struct run r = {.engine = engine, .on_token = on_token, .arg = arg};
    dhole_err err;

    r.result.prompt_tokens = count;
    r.logits = dhole__sys.malloc(vocab * sizeof *r.logits);
    if (r.logits == NULL)
        return dhole__fail_nomem(vocab * sizeof *r.logits, "logits");
    err = dhole__sampler_create(sampling, vocab, &r.sampler);
    if (err == DHOLE_OK) {
        err = feed(&r, prompt, count, &r.result.prefill_seconds);
        if (err == DHOLE_ERR_LIMIT || err == DHOLE_ERR_INVALID)
            err = dhole__fail_in(err, "the prompt");
    }
    if (err == DHOLE_OK)
        err = decode(&r, max_tokens);
    if (err == DHOLE_ERR_CANCELLED) {
        r.result.stop = DHOLE_STOP_CALLER;
        err = DHOLE_OK;
    }
    if (err == DHOLE_OK)
        *result = r.result;
    dhole__sampler_free(r.sampler);
    free(r.logits);
    return err;
}
