#include "cli/serve.h"

#include <stdio.h>

#include "base/hex.h"

dhole_err dhole__serve(const dhole_model *model, dhole_group *group,
                       const dhole_engine_options *options)
{
    dhole_engine *engine = NULL;
    dhole_err err = dhole_engine_create(model, group, options, &engine);

    if (err == DHOLE_OK)
        err = dhole_engine_serve(engine);
    dhole_engine_free(engine);
    return err;
}

void dhole__agreement(const dhole_model *model, dhole_parallel parallel, int ranks,
                      char out[static dhole__agreement_size])
{
    uint8_t digest[32];
    char hex[2 * sizeof digest + 1];

    dhole_model_digest(model, digest);
    dhole__hex_write(digest, sizeof digest, hex);
    snprintf(out, dhole__agreement_size, "model %s, %s on %d ranks", hex,
             dhole_parallel_name(parallel), ranks);
}
