/* positions MODEL OUT THREADS CHUNK: feeds the token ids on stdin to one rank, CHUNK of
 * them a call, and writes each call's logits (f32) to OUT. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "dhole/infer.h"

enum { token_max = 8192 };

static bool ok(dhole_err err)
{
    if (err != DHOLE_OK)
        fprintf(stderr, "positions: %s\n", dhole_error_message());
    return err == DHOLE_OK;
}

static bool feed(dhole_engine *engine, const int32_t *tokens, size_t count, size_t chunk,
                 float *logits, size_t vocab, FILE *out)
{
    for (size_t done = 0; done < count; done += chunk) {
        size_t n = count - done < chunk ? count - done : chunk;

        if (!ok(dhole_engine_forward(engine, tokens + done, n, logits)))
            return false;
        if (fwrite(logits, sizeof *logits, vocab, out) != vocab) {
            perror("positions");
            return false;
        }
    }
    return true;
}

static bool run(const char *model_path, const char *out_path, int threads, size_t chunk)
{
    static int32_t tokens[token_max];
    dhole_engine_options options = {.parallel = DHOLE_PARALLEL_SINGLE, .threads = threads};
    dhole_model *model = NULL;
    dhole_engine *engine = NULL;
    dhole_model_info info;
    float *logits = NULL;
    FILE *out = NULL;
    size_t count = 0;
    bool done = false;

    while (count < token_max && scanf("%" SCNd32, &tokens[count]) == 1)
        count++;
    if (!ok(dhole_model_open(model_path, &model)))
        goto out;
    dhole_model_describe(model, &info);
    logits = calloc((size_t)info.vocab, sizeof *logits);
    out = fopen(out_path, "wb");
    if (logits == NULL || out == NULL) {
        perror("positions");
        goto out;
    }
    if (!ok(dhole_engine_create(model, NULL, &options, &engine)))
        goto out;
    done = feed(engine, tokens, count, chunk, logits, (size_t)info.vocab, out);
out:
    dhole_engine_free(engine);
    dhole_model_close(model);
    free(logits);
    if (out != NULL && fclose(out) != 0)
        done = false;
    return done;
}

int main(int argc, char **argv)
{
    int threads = argc == 5 ? atoi(argv[3]) : 0;
    int chunk = argc == 5 ? atoi(argv[4]) : 0;

    if (threads < 1 || chunk < 1) {
        fprintf(stderr, "usage: positions MODEL OUT THREADS CHUNK <ids\n");
        return 2;
    }
    return run(argv[1], argv[2], threads, (size_t)chunk) ? 0 : 1;
}
