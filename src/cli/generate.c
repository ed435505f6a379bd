#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "cli/answer.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/prompt.h"
#include "cli/remote.h"
#include "cli/signals.h"
#include "cli/spawn.h"

struct run {
    const struct dhole__arguments *arguments;
    dhole_model *model;
    int32_t *prompt;
    size_t prompt_count;
    dhole_parallel parallel;
    char reason[256];
    struct dhole__answer answer;
    struct dhole__ranks *ranks;   /* of this machine; or NULL */
    struct dhole__remote *remote; /* of others; or NULL */
    dhole_generation result;
    dhole_stats traffic;
};

static dhole_err load_prompt(struct run *run)
{
    const struct dhole__arguments *a = run->arguments;
    struct dhole__buf text;
    dhole_err err = dhole__prompt_read(a->prompt, &text);

    if (err)
        return err;
    err = dhole_prompt_tokens(run->model, a->system, (const char *)text.data, a->raw, &run->prompt,
                              &run->prompt_count);
    dhole__buf_free(&text);
    return err;
}

static int threads_of(const struct dhole__arguments *a)
{
    int each = dhole__cpu_count() / (int)a->ranks;

    if (a->threads > 0)
        return (int)a->threads;
    if (a->peer_count > 0)
        return dhole__cpu_count();
    return each > 0 ? each : 1;
}

static dhole_err start_peers(struct run *run)
{
    const struct dhole__arguments *a = run->arguments;
    struct dhole__remote_options options = {
        .names = a->peers,
        .count = a->peer_count,
        .model = run->model,
        .parallel = run->parallel,
        .backend = a->backend,
        .devices = a->devices,
        .seal_memory = a->sealing == DHOLE__SEAL_ON,
        .threads = (int)a->threads,
    };

    return dhole__remote_start(&options, &run->remote);
}

static dhole_err start_ranks(struct run *run)
{
    const struct dhole__arguments *a = run->arguments;
    struct dhole__spawn_options options = {
        .count = (int)a->ranks,
        .path = a->model,
        .model = run->model,
        .parallel = run->parallel,
        .backend = a->backend,
        .devices = a->devices,
        .sealing = a->sealing,
        .threads = threads_of(a),
    };

    if (a->peer_count > 0)
        return start_peers(run);
    return a->ranks > 1 ? dhole__ranks_start(&options, &run->ranks) : DHOLE_OK;
}

/* Says what failed, unless that has been done; returns the exit code. */
static int fail(struct run *run, dhole_err err)
{
    if (run->answer.reader_gone)
        return DHOLE__EXIT_FAILED;
    dhole__answer_end_line(&run->answer);
    if (run->remote != NULL)
        err = dhole__remote_explain(run->remote, err);
    if (err != DHOLE_ERR_CANCELLED || !dhole__signals_caught())
        return dhole__report(err);
    fprintf(stderr, "dhole: interrupted\n");
    return DHOLE__EXIT_SIGNAL + dhole__signals_caught();
}

/* All that comes before the ranks compute. */
static dhole_err prepare(struct run *run)
{
    const struct dhole__arguments *a = run->arguments;
    dhole_err err = dhole_parallel_choose(run->model, (int)a->ranks, a->parallel, &run->parallel,
                                          run->reason, sizeof run->reason);

    if (err == DHOLE_OK)
        err = load_prompt(run);
    if (err == DHOLE_OK)
        err = dhole__answer_begin(&run->answer, run->model, a->json);
    if (err == DHOLE_OK && a->logits_out != NULL)
        err = dhole__logits_open(a->logits_out, a->model, &run->answer.logits);
    if (err == DHOLE_OK)
        err = dhole__signals_install();
    if (err == DHOLE_OK)
        err = start_ranks(run);
    return err;
}

/* Generates with the engine, and ends it on all ranks. */
static int answer(struct run *run, dhole_engine *engine)
{
    const struct dhole__arguments *a = run->arguments;
    int code = DHOLE__EXIT_DONE;
    dhole_err err;

    dhole__signals_engine(engine);
    err = dhole_generate(engine, run->prompt, run->prompt_count, (size_t)a->max_tokens,
                         &a->sampling, dhole__answer_token, &run->answer, &run->result);
    dhole__signals_engine(NULL);
    if (err == DHOLE_OK)
        err = dhole__answer_finish(&run->answer);
    if (err)
        code = fail(run, err); /* now, as ending the engine may fail on its own account */
    else
        dhole__answer_end_line(&run->answer);
    dhole_engine_free(engine);
    return code;
}

static dhole_group *group_of(const struct run *run)
{
    if (run->remote != NULL)
        return dhole__remote_group(run->remote);
    return run->ranks != NULL ? dhole__ranks_group(run->ranks) : NULL;
}

static int compute(struct run *run)
{
    dhole_group *group = group_of(run);
    dhole_engine_options options = {.parallel = run->parallel,
                                    .threads = threads_of(run->arguments)};
    dhole_engine *engine;
    dhole_err err = dhole_engine_create(run->model, group, &options, &engine);
    int code = err ? fail(run, err) : answer(run, engine);

    if (group != NULL)
        dhole_group_stats(group, &run->traffic);
    return code;
}

static double rate(size_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

static bool print_json(const struct run *run)
{
    const dhole_generation *r = &run->result;
    const struct dhole__buf *text = &run->answer.text;
    json_t *root = json_pack(
        "{s:s%, s:O, s:I, s:I, s:f, s:f, s:I, s:s, s:s, s:I, s:I, s:s}", "text",
        text->len > 0 ? (const char *)text->data : "", text->len, "tokens", run->answer.tokens,
        "prompt_tokens", (json_int_t)r->prompt_tokens, "generated", (json_int_t)r->generated,
        "prefill_tps", rate(r->prompt_tokens, r->prefill_seconds), "decode_tps",
        rate(r->decode_steps, r->decode_seconds), "ranks", (json_int_t)run->arguments->ranks,
        "parallel", dhole_parallel_name(run->parallel), "reason", run->reason, "sealed_bytes",
        (json_int_t)run->traffic.sealed_bytes, "plain_bytes", (json_int_t)run->traffic.plain_bytes,
        "stop", dhole_stop_name(r->stop));
    bool ok = root != NULL && json_dumpf(root, stdout, 0) == 0 && putchar('\n') != EOF;

    json_decref(root);
    return dhole__flush_stdout() && ok;
}

static void print_stats(const struct run *run)
{
    const dhole_generation *r = &run->result;

    fprintf(stderr,
            "\n"
            "prompt     %6zu tokens  %8.3f s  %8.1f tokens/s\n"
            "generated  %6zu tokens  %8.3f s  %8.1f tokens/s\n"
            "ranks      %6lld         %s: %s\n"
            "sealed     %llu bytes, in the clear %llu bytes, through memory %llu bytes\n"
            "stop       %s\n",
            r->prompt_tokens, r->prefill_seconds, rate(r->prompt_tokens, r->prefill_seconds),
            r->generated, r->decode_seconds, rate(r->decode_steps, r->decode_seconds),
            run->arguments->ranks, dhole_parallel_name(run->parallel), run->reason,
            (unsigned long long)run->traffic.sealed_bytes,
            (unsigned long long)run->traffic.plain_bytes,
            (unsigned long long)run->traffic.memory_bytes, dhole_stop_name(r->stop));
}

/* What is said after the answer; returns the exit code. */
static int conclude(const struct run *run)
{
    int number = dhole__signals_caught();

    if (run->arguments->stats)
        print_stats(run);
    if (run->arguments->json && !print_json(run))
        return DHOLE__EXIT_FAILED;
    if (run->result.stop == DHOLE_STOP_CALLER && number != 0)
        return DHOLE__EXIT_SIGNAL + number;
    return DHOLE__EXIT_DONE;
}

static int run(const struct dhole__arguments *arguments)
{
    struct run r = {.arguments = arguments};
    dhole_err err = dhole_model_open(arguments->model, &r.model);
    int code;

    if (err)
        return dhole__report_model(err);
    err = prepare(&r);
    code = err ? fail(&r, err) : compute(&r);
    dhole__ranks_end(r.ranks, code == DHOLE__EXIT_DONE);
    dhole__remote_end(r.remote, code == DHOLE__EXIT_DONE);
    if (code == DHOLE__EXIT_DONE)
        code = conclude(&r);
    dhole__answer_free(&r.answer);
    free(r.prompt);
    dhole_model_close(r.model);
    return code;
}

static int generate(int argc, char **argv)
{
    struct dhole__arguments arguments;
    int code = dhole__arguments_parse(argc, argv, &arguments);

    if (code != DHOLE__EXIT_DONE)
        return code;
    return arguments.help ? dhole__help_on(&dhole__cmd_generate) : run(&arguments);
}

const struct dhole__subcommand dhole__cmd_generate = {
    .name = "generate",
    .summary = "answers a prompt",
    .help =
        "Usage: dhole generate --model FILE --prompt TEXT|- [OPTIONS]\n"
        "\n"
        "The answer goes to stdout as it is produced, everything else to stderr.\n"
        "\n"
        "  --model FILE        a GGUF file\n"
        "  --prompt TEXT       the prompt; - reads it from stdin\n"
        "  --raw               feed the prompt as it is, without the chat template\n"
        "  --system TEXT       system text of the chat template\n"
        "  --max-tokens N      stop after N tokens (default 512)\n"
        "  --ranks N           share the work among N processes, 1 to 8 (default 1)\n"
        "  --peers A,B         share the work with these machines, up to 7, which this one trusts "
        "and\n"
        "                      which run `dhole join --listen`; this process is rank 0, and "
        "listens\n"
        "                      meanwhile where it called them from\n"
        "  --parallel HOW      auto, single, tp (each rank computes a share of every layer) or pp\n"
        "                      (each rank holds a run of layers); default auto\n"
        "  --backend NAME      what joins the ranks: shm (shared memory), ring (TCP on loopback),\n"
        "                      jaccl or jaccl-ring (RDMA), or any (default): shm where it can be "
        "had,\n"
        "                      but jaccl with --ranks and --devices\n"
        "  --devices FILE      the device matrix of jaccl, as in JACCL_IBV_DEVICES; with --peers\n"
        "                      the names of this machine's devices, A,B (default: all that can "
        "be\n"
        "                      used; those of the others: `dhole join --devices`)\n"
        "  --seal WHAT         auto: all that crosses a connection, but not shared memory, nor "
        "RDMA\n"
        "                      between --ranks (default); on: these too; off: nothing, as it "
        "stays\n"
        "                      on this host\n"
        "  --threads N         threads of each rank (default: processors / ranks)\n"
        "  --temperature T     0 always takes the likeliest token (default 0)\n"
        "  --top-k K           choose among the K likeliest tokens only (default 0: all)\n"
        "  --top-p P           choose among the fewest tokens that hold P of the probability\n"
        "                      (default 1: all)\n"
        "  --seed S            the same seed gives the same answer (default 0)\n"
        "  --stats             print times and traffic to stderr at the end\n"
        "  --json              print one JSON object at the end instead of the text: text, "
        "tokens,\n"
        "                      prompt_tokens, generated, prefill_tps, decode_tps, ranks, "
        "parallel,\n"
        "                      reason, sealed_bytes, plain_bytes, stop (end, length, context,\n"
        "                      interrupted)\n"
        "  --logits-out FILE   write a row of f32 logits, little-endian, for each token of the\n"
        "                      answer\n"
        "\n"
        "Ctrl-C ends the answer on all ranks; a second one kills.\n"
        "\n"
        "Examples:\n"
        "  dhole generate --model smol.gguf --prompt \"What is a dhole?\" --stats\n"
        "  dhole generate --model smol.gguf --prompt - --ranks 2 --parallel pp < question.txt\n"
        "  dhole generate --model smol.gguf --prompt \"What is a dhole?\" --peers attic,cellar\n"
        "  dhole generate --model smol.gguf --prompt - --peers attic --backend jaccl < "
        "question.txt\n",
    .run = generate,
};
