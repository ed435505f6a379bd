/* Engines over groups of threads: the same bits however a model is split. */
#include "dhole/infer.h"

#include "base/sys.h"
#include "harness.h"
#include "model.h"
#include "test.h"

enum { prompt_count = 300, steps = 6 };

struct work {
    dhole_model *model;
    dhole_parallel parallel;
    int threads;
    float logits[steps][tiny_vocab]; /* rank 0's result */
};

static void make_prompt(int32_t prompt[static prompt_count])
{
    unsigned long long seed = 3;

    for (int i = 0; i < prompt_count; i++)
        prompt[i] = (int32_t)(test_random(&seed) % tiny_vocab);
}

/* Feeds a prompt of several chunks, then token by token what is the likeliest. */
static void lead(dhole_engine *engine, struct work *work)
{
    int32_t prompt[prompt_count];

    make_prompt(prompt);
    ASSERT_OK(dhole_engine_forward(engine, prompt, prompt_count, work->logits[0]));
    for (int i = 1; i < steps; i++) {
        int32_t best = 0;
        for (int t = 1; t < tiny_vocab; t++)
            if (work->logits[i - 1][t] > work->logits[i - 1][best])
                best = t;
        ASSERT_OK(dhole_engine_forward(engine, &best, 1, work->logits[i]));
    }
    ASSERT_EQ(dhole_engine_position(engine), prompt_count + steps - 1);
}

static dhole_engine *create(const struct work *work, dhole_group *group)
{
    dhole_engine_options options = {.parallel = work->parallel, .threads = work->threads};
    dhole_engine *engine;

    ASSERT_OK(dhole_engine_create(work->model, group, &options, &engine));
    return engine;
}

static void lead_or_serve(struct rank *r)
{
    struct work *work = r->arg;
    dhole_engine *engine = create(work, r->group);

    if (r->rank == 0)
        lead(engine, work);
    else
        ASSERT_OK(dhole_engine_serve(engine));
    dhole_engine_free(engine);
}

static void run_single(struct work *work)
{
    dhole_engine *engine = create(work, NULL);

    lead(engine, work);
    dhole_engine_free(engine);
}

static void compare_with_single(dhole_parallel parallel, int ranks, int threads)
{
    struct gguf_writer w;
    struct work alone = {.model = small_model(&w, 1), .threads = 1};
    struct work split = {.model = alone.model, .parallel = parallel, .threads = threads};

    run_single(&alone);
    ASSERT(alone.logits[0][0] != alone.logits[0][1]);
    run_group(&backend_mem, ranks, lead_or_serve, &split);
    for (int i = 0; i < steps; i++)
        for (int t = 0; t < tiny_vocab; t++)
            ASSERT_MSG(alone.logits[i][t] == split.logits[i][t],
                       "logit %d of step %d is %a, alone it is %a", t, i,
                       (double)split.logits[i][t], (double)alone.logits[i][t]);
    small_model_close(alone.model, &w);
}

TEST(tp_on_2_ranks_gives_the_bits_of_one)
{
    compare_with_single(DHOLE_PARALLEL_TP, 2, 1);
}

TEST(tp_on_3_ranks_gives_the_bits_of_one)
{
    compare_with_single(DHOLE_PARALLEL_TP, 3, 2);
}

TEST(pp_on_2_ranks_gives_the_bits_of_one)
{
    compare_with_single(DHOLE_PARALLEL_PP, 2, 2);
}

TEST(pp_on_5_ranks_gives_the_bits_of_one)
{
    compare_with_single(DHOLE_PARALLEL_PP, 5, 1);
}

TEST(auto_on_4_ranks_gives_the_bits_of_one)
{
    compare_with_single(DHOLE_PARALLEL_AUTO, 4, 1);
}

/* Token by token, and in chunks. */
TEST(batching_does_not_change_a_bit)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 2), .threads = 2};
    dhole_engine *engine = create(&work, NULL);
    float whole[tiny_vocab], last[tiny_vocab];
    int32_t prompt[prompt_count];

    make_prompt(prompt);
    ASSERT_OK(dhole_engine_forward(engine, prompt, prompt_count, whole));
    ASSERT_OK(dhole_engine_reset(engine));
    for (int i = 0; i < prompt_count; i++)
        ASSERT_OK(dhole_engine_forward(engine, &prompt[i], 1, last));
    ASSERT(memcmp(whole, last, sizeof whole) == 0);
    dhole_engine_free(engine);
    small_model_close(work.model, &w);
}

TEST(a_refused_forward_changes_nothing)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .threads = 1};
    dhole_engine *engine = create(&work, NULL);
    int32_t tokens[small_context + 1] = {0};
    float logits[tiny_vocab];

    ASSERT_ERR(dhole_engine_forward(engine, tokens, small_context + 1, logits), DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(dhole_error_message(), "401 tokens do not fit: the context holds 400");
    ASSERT_ERR(dhole_engine_forward(engine, tokens, 0, logits), DHOLE_ERR_INVALID);
    tokens[1] = tiny_vocab;
    ASSERT_ERR(dhole_engine_forward(engine, tokens, 2, logits), DHOLE_ERR_INVALID);
    tokens[1] = -1;
    ASSERT_ERR(dhole_engine_forward(engine, tokens, 2, logits), DHOLE_ERR_INVALID);
    ASSERT_EQ(dhole_engine_position(engine), 0);
    tokens[1] = 0;
    ASSERT_OK(dhole_engine_forward(engine, tokens, small_context, logits));
    ASSERT_ERR(dhole_engine_forward(engine, tokens, 1, logits), DHOLE_ERR_LIMIT);
    ASSERT_EQ(dhole_engine_position(engine), small_context);
    dhole_engine_free(engine);
    small_model_close(work.model, &w);
}

static void cancel_in_the_middle(struct rank *r)
{
    struct work *work = r->arg;
    dhole_engine *engine = create(work, r->group);
    int32_t prompt[prompt_count];

    if (r->rank == 0) {
        make_prompt(prompt);
        dhole_engine_cancel(engine);
        ASSERT_ERR(dhole_engine_forward(engine, prompt, prompt_count, work->logits[0]),
                   DHOLE_ERR_CANCELLED);
        ASSERT_ERR(dhole_engine_forward(engine, prompt, 1, work->logits[0]), DHOLE_ERR_CANCELLED);
        ASSERT_OK(dhole_engine_reset(engine));
        lead(engine, work);
    } else {
        ASSERT_OK(dhole_engine_serve(engine));
    }
    dhole_engine_free(engine);
}

TEST(a_cancelled_engine_works_again_after_reset)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .parallel = DHOLE_PARALLEL_PP, .threads = 1};

    run_group(&backend_mem, 3, cancel_in_the_middle, &work);
    work.parallel = DHOLE_PARALLEL_TP;
    run_group(&backend_mem, 2, cancel_in_the_middle, &work);
    small_model_close(work.model, &w);
}

static void create_with_own_context(struct rank *r)
{
    struct work *work = r->arg;
    dhole_engine_options options = {.parallel = work->parallel, .context = 100 + r->rank};
    dhole_engine *engine;

    ASSERT_ERR(dhole_engine_create(work->model, r->group, &options, &engine), DHOLE_ERR_MISMATCH);
    ASSERT_CONTAINS(dhole_error_message(), "runs tp with a context of");
}

TEST(ranks_that_disagree_are_refused)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .parallel = DHOLE_PARALLEL_TP};

    run_group(&backend_mem, 2, create_with_own_context, &work);
    small_model_close(work.model, &w);
}

/* Rank 1 alone asks for threads that cannot be. */
static void create_with_own_threads(struct rank *r)
{
    struct work *work = r->arg;
    dhole_engine_options options = {.parallel = work->parallel, .threads = r->rank == 1 ? -1 : 1};
    dhole_engine *engine;

    ASSERT_ERR(dhole_engine_create(work->model, r->group, &options, &engine), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(),
                    r->rank == 1 ? "-1 threads" : "rank 1 cannot run its part");
}

TEST(a_rank_that_cannot_run_is_an_error_on_all)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .parallel = DHOLE_PARALLEL_PP};

    run_group(&backend_mem, 3, create_with_own_threads, &work);
    small_model_close(work.model, &w);
}

/* Rank 1 alone asks for a context beyond the model's, or for an engine of one rank. */
static void create_what_cannot_be(struct rank *r)
{
    struct work *work = r->arg;
    dhole_engine_options options[2] = {{.parallel = work->parallel}, {.parallel = work->parallel}};
    const char *why[] = {"a context of 1000000 tokens", "single runs on 1 rank"};
    dhole_engine *engine;

    if (r->rank == 1) {
        options[0].context = 1000000;
        options[1].parallel = DHOLE_PARALLEL_SINGLE;
    }
    for (int i = 0; i < 2; i++) {
        ASSERT_ERR(dhole_engine_create(work->model, r->group, &options[i], &engine),
                   DHOLE_ERR_INVALID);
        ASSERT_CONTAINS(dhole_error_message(),
                        r->rank == 1 ? why[i] : "rank 1 cannot run its part");
    }
}

TEST(options_that_cannot_be_are_an_error_on_all)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .parallel = DHOLE_PARALLEL_PP};

    run_group(&backend_mem, 3, create_what_cannot_be, &work);
    small_model_close(work.model, &w);
}

static void leave_without_a_word(struct rank *r)
{
    struct work *work = r->arg;
    dhole_engine *engine = create(work, r->group);

    if (r->rank == 0)
        dhole_abort(r->group, "the test says so");
    else
        ASSERT_ERR(dhole_engine_serve(engine), DHOLE_ERR_ABORTED);
    dhole_engine_free(engine);
}

TEST(a_broken_group_ends_the_serving_ranks)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .parallel = DHOLE_PARALLEL_PP};

    run_group(&backend_mem, 3, leave_without_a_word, &work);
    small_model_close(work.model, &w);
}

TEST(refuses_what_is_not_the_ranks_business)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .threads = 1};
    dhole_engine_options options = {.context = small_context + 1};
    dhole_engine *engine;

    ASSERT_ERR(dhole_engine_create(work.model, NULL, &options, &engine), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "401");
    options = (dhole_engine_options){.threads = -1};
    ASSERT_ERR(dhole_engine_create(work.model, NULL, &options, &engine), DHOLE_ERR_INVALID);
    engine = create(&work, NULL);
    ASSERT_ERR(dhole_engine_serve(engine), DHOLE_ERR_INVALID);
    dhole_engine_free(engine);
    dhole_engine_free(NULL);
    small_model_close(work.model, &w);
}

struct answer {
    size_t stop_after;
    size_t count;
    int32_t tokens[small_context];
};

static int keep(void *arg, int32_t token, const float *logits)
{
    struct answer *answer = arg;

    ASSERT(logits != NULL);
    answer->tokens[answer->count++] = token;
    return answer->count == answer->stop_after;
}

static dhole_generation generate(dhole_engine *engine, size_t prompt, size_t max_tokens,
                                 const dhole_sampling *sampling, struct answer *answer)
{
    int32_t tokens[small_context] = {5, 7, 11};
    dhole_generation result;

    answer->count = 0;
    ASSERT_OK(dhole_engine_reset(engine));
    ASSERT_OK(dhole_generate(engine, tokens, prompt, max_tokens, sampling, keep, answer, &result));
    ASSERT_EQ(result.generated, answer->count);
    ASSERT_EQ(result.prompt_tokens, prompt);
    return result;
}

TEST(generation_stops_for_a_reason)
{
    static const dhole_sampling greedy = {.top_p = 1};
    static const dhole_sampling random = {.temperature = 5, .top_p = 1, .seed = 9};
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .threads = 1};
    dhole_engine *engine = create(&work, NULL);
    struct answer answer = {0};
    dhole_generation result;

    result = generate(engine, 3, 4, &greedy, &answer);
    ASSERT_EQ(result.stop, DHOLE_STOP_LENGTH);
    ASSERT_EQ(result.generated, 4);
    ASSERT_EQ(result.decode_steps, 3);
    result = generate(engine, 3, 0, &greedy, &answer);
    ASSERT_EQ(result.stop, DHOLE_STOP_LENGTH);
    ASSERT_EQ(result.generated, 0);

    answer.stop_after = 2;
    result = generate(engine, 3, 4, &greedy, &answer);
    ASSERT_EQ(result.stop, DHOLE_STOP_CALLER);
    ASSERT_EQ(result.generated, 2);

    answer.stop_after = 0;
    result = generate(engine, small_context - 1, 4, &greedy, &answer);
    ASSERT_EQ(result.stop, DHOLE_STOP_CONTEXT);
    ASSERT_EQ(result.generated, 2);

    /* Nearly even odds, and an end token among 268: it comes within the context. */
    result = generate(engine, 3, small_context, &random, &answer);
    ASSERT_EQ(result.stop, DHOLE_STOP_END);
    for (size_t i = 0; i < answer.count; i++)
        ASSERT(!dhole_token_is_end(work.model, answer.tokens[i]));

    dhole_engine_free(engine);
    small_model_close(work.model, &w);
}

TEST(generation_refuses_a_prompt_that_does_not_fit)
{
    static const dhole_sampling greedy = {.top_p = 1}, wrong = {.top_p = 2};
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .threads = 1};
    dhole_engine *engine = create(&work, NULL);
    int32_t tokens[small_context + 1] = {0};
    dhole_generation result;

    ASSERT_ERR(dhole_generate(engine, tokens, small_context + 1, 1, &greedy, NULL, NULL, &result),
               DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(dhole_error_message(), "the prompt: 401 tokens");
    ASSERT_ERR(dhole_generate(engine, tokens, 0, 1, &greedy, NULL, NULL, &result),
               DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole_generate(engine, tokens, 1, 1, &wrong, NULL, NULL, &result),
               DHOLE_ERR_INVALID);
    ASSERT_EQ(dhole_engine_position(engine), 0);
    ASSERT_OK(dhole_generate(engine, tokens, 1, 1, &greedy, NULL, NULL, &result));
    dhole_engine_free(engine);
    small_model_close(work.model, &w);
}

static int cancel_after_one(void *arg, int32_t token, const float *logits)
{
    (void)token, (void)logits;
    dhole_engine_cancel(arg);
    return 0;
}

TEST(a_cancelled_generation_ends_as_interrupted)
{
    static const dhole_sampling greedy = {.top_p = 1};
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .threads = 1};
    dhole_engine *engine = create(&work, NULL);
    int32_t token = 5;
    dhole_generation result;

    ASSERT_OK(dhole_generate(engine, &token, 1, 100, &greedy, cancel_after_one, engine, &result));
    ASSERT_EQ(result.stop, DHOLE_STOP_CALLER);
    ASSERT_STR(dhole_stop_name(result.stop), "interrupted");
    ASSERT_EQ(result.generated, 1);
    dhole_engine_free(engine);
    small_model_close(work.model, &w);
}

static struct dhole__sys real;
static int left; /* allocations that still succeed */

static void *failing_malloc(size_t size)
{
    return left-- == 0 ? NULL : real.malloc(size);
}

static void *failing_calloc(size_t count, size_t size)
{
    return left-- == 0 ? NULL : real.calloc(count, size);
}

static void *failing_aligned_alloc(size_t align, size_t size)
{
    return left-- == 0 ? NULL : real.aligned_alloc(align, size);
}

/* Creates and generates while the Nth allocation fails; whether all went well. */
static int generates(const struct work *work, int allocations)
{
    static const dhole_sampling sampling = {.temperature = 1, .top_p = 1};
    dhole_engine_options options = {.threads = 1};
    dhole_engine *engine = NULL;
    dhole_generation result;
    int32_t token = 5;
    dhole_err err;

    left = allocations;
    dhole__sys.malloc = failing_malloc;
    dhole__sys.calloc = failing_calloc;
    dhole__sys.aligned_alloc = failing_aligned_alloc;
    err = dhole_engine_create(work->model, NULL, &options, &engine);
    if (err == DHOLE_OK)
        err = dhole_generate(engine, &token, 1, 3, &sampling, NULL, NULL, &result);
    dhole_engine_free(engine);
    dhole__sys = real;
    ASSERT(err == DHOLE_OK || err == DHOLE_ERR_NOMEM);
    return err == DHOLE_OK;
}

/* The sanitizers watch that nothing leaks. */
TEST(any_allocation_may_fail)
{
    struct gguf_writer w;
    struct work work = {.model = small_model(&w, 1), .threads = 1};
    int allocations = 0;

    real = dhole__sys;
    while (!generates(&work, allocations))
        allocations++;
    ASSERT(allocations > 5);
    small_model_close(work.model, &w);
}
