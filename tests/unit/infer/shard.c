/* How a model is dealt to the ranks. */
#include "infer/shard.h"

#include "dhole/infer.h"
#include "model.h"
#include "test.h"

enum { layers_max = 40 };

struct fake {
    struct dhole__llama llama;
    struct dhole__llama_layer layer[layers_max];
};

/* A model of which only the counts and sizes are there. */
static void fake_model(struct fake *f, int layers, int kv_heads, int group, int head_dim, int ffn)
{
    memset(f, 0, sizeof *f);
    f->llama = (struct dhole__llama){
        .layers = layers,
        .hidden = 64,
        .heads = kv_heads * group,
        .kv_heads = kv_heads,
        .head_dim = head_dim,
        .ffn = ffn,
        .vocab = 1000,
        .embedding = {.data = "e", .bytes = 5000},
        .output = {.data = "e", .bytes = 5000},
        .layer = f->layer,
    };
    for (int i = 0; i < layers; i++) {
        f->layer[i].attn_output.type = DHOLE__Q4_0;
        f->layer[i].down.bytes = 1000;
    }
}

TEST(deals_everything_once_and_evenly)
{
    for (size_t items = 0; items < 40; items++)
        for (int ranks = 1; ranks <= dhole__ranks_max; ranks++)
            for (int larger = DHOLE__LARGER_FIRST; larger <= DHOLE__LARGER_LAST; larger++) {
                size_t next = 0, least = items / (size_t)ranks, before = 0;
                for (int r = 0; r < ranks; r++) {
                    struct dhole__range part =
                        dhole__deal(items, ranks, r, (enum dhole__larger)larger);
                    ASSERT_EQ(part.first, next);
                    ASSERT(part.count == least || part.count == least + 1);
                    if (r > 0 && larger == DHOLE__LARGER_FIRST)
                        ASSERT(part.count <= before);
                    if (r > 0 && larger == DHOLE__LARGER_LAST)
                        ASSERT(part.count >= before);
                    before = part.count;
                    next += part.count;
                }
                ASSERT_EQ(next, items);
            }
}

/* Each range follows the last rank's, ends at `total` and starts at whole units. */
static void check_next(struct dhole__range part, size_t *next, size_t unit)
{
    ASSERT_EQ(part.first, *next);
    ASSERT(part.first % unit == 0 || part.count == 0);
    *next += part.count;
}

TEST(tp_covers_every_head_column_and_row_once)
{
    static const int ffns[] = {64, 128, 320, 1536, 5632};
    struct fake f;

    for (int kv_heads = 1; kv_heads <= 32; kv_heads++)
        for (int ranks = 2; ranks <= dhole__ranks_max; ranks++)
            for (size_t i = 0; i < sizeof ffns / sizeof *ffns; i++) {
                size_t heads = 0, columns = 0, rows = 0;
                struct dhole__share share;
                fake_model(&f, 2, kv_heads, 3, 32, ffns[i]);
                if (kv_heads < ranks) {
                    ASSERT_ERR(dhole__share_tp(&f.llama, ranks, 0, &share), DHOLE_ERR_UNSUPPORTED);
                    ASSERT_CONTAINS(dhole_error_message(), "KV heads are too few");
                    continue;
                }
                for (int r = 0; r < ranks; r++) {
                    ASSERT_OK(dhole__share_tp(&f.llama, ranks, r, &share));
                    ASSERT(share.kv_heads.count >= 1);
                    ASSERT_EQ(share.layers.count, 2);
                    check_next(share.kv_heads, &heads, 1);
                    check_next(share.ffn, &columns, dhole__ffn_unit);
                    check_next(share.vocab, &rows, 16);
                }
                ASSERT_EQ(heads, kv_heads);
                ASSERT_EQ(columns, ffns[i]);
                ASSERT_EQ(rows, 1000);
            }
}

TEST(tp_gives_no_rank_more_of_everything)
{
    struct dhole__share first, last;
    struct fake f;

    fake_model(&f, 30, 3, 3, 64, 128 * 13);
    ASSERT_OK(dhole__share_tp(&f.llama, 2, 0, &first));
    ASSERT_OK(dhole__share_tp(&f.llama, 2, 1, &last));
    ASSERT_EQ(first.kv_heads.count, 2);
    ASSERT_EQ(last.kv_heads.count, 1);
    ASSERT_EQ(first.ffn.count, 128 * 6);
    ASSERT_EQ(last.ffn.count, 128 * 7);
    ASSERT(first.vocab.count <= last.vocab.count);
}

/* mlx #4465: SmolLM2-135M, whose 9 heads and 3 KV heads two ranks cannot halve. */
TEST(mlx_4465_heads_that_do_not_divide)
{
    struct dhole__share share[2];
    struct fake f;

    fake_model(&f, 30, 3, 3, 64, 1536);
    for (int rank = 0; rank < 2; rank++)
        ASSERT_OK(dhole__share_tp(&f.llama, 2, rank, &share[rank]));
    ASSERT_EQ(share[0].kv_heads.count, 2);
    ASSERT_EQ(share[1].kv_heads.count, 1);
    ASSERT_EQ(share[0].ffn.count + share[1].ffn.count, 1536);
    ASSERT_EQ(share[0].layers.count, 30);
    ASSERT_EQ(share[1].layers.count, 30);
}

/* Three heads of 8 columns lie in one block of 32, which no rank may cut. */
TEST(tp_never_cuts_through_a_block)
{
    struct dhole__share share;
    struct fake f;

    fake_model(&f, 2, 4, 1, 8, 128);
    ASSERT_EQ(dhole__attention_unit(&f.llama), 32);
    ASSERT_ERR(dhole__share_tp(&f.llama, 2, 0, &share), DHOLE_ERR_UNSUPPORTED);
    ASSERT_CONTAINS(dhole_error_message(), "whole blocks");
    f.layer[0].attn_output.type = f.layer[1].attn_output.type = DHOLE__F16;
    ASSERT_EQ(dhole__attention_unit(&f.llama), 8);
    ASSERT_OK(dhole__share_tp(&f.llama, 2, 0, &share));
}

TEST(pp_gives_every_rank_layers_and_rank_0_the_ends)
{
    struct fake f;

    for (int layers = 1; layers <= layers_max; layers++)
        for (int ranks = 1; ranks <= dhole__ranks_max; ranks++) {
            struct dhole__share share;
            size_t next = 0;
            fake_model(&f, layers, 2, 1, 32, 128);
            if (layers < ranks) {
                ASSERT_ERR(dhole__share_pp(&f.llama, ranks, 0, &share), DHOLE_ERR_UNSUPPORTED);
                continue;
            }
            for (int r = 0; r < ranks; r++) {
                ASSERT_OK(dhole__share_pp(&f.llama, ranks, r, &share));
                ASSERT(share.layers.count >= 1);
                ASSERT_EQ(share.vocab.count, r == 0 ? 1000 : 0);
                ASSERT_EQ(share.kv_heads.count, 2);
                ASSERT_EQ(share.ffn.count, 128);
                check_next(share.layers, &next, 1);
            }
            ASSERT_EQ(next, layers);
        }
}

static void check_layers(const struct fake *f, int ranks, const size_t *expected)
{
    for (int r = 0; r < ranks; r++) {
        struct dhole__share share;
        ASSERT_OK(dhole__share_pp(&f->llama, ranks, r, &share));
        ASSERT_EQ(share.layers.count, expected[r]);
    }
}

/* The ends weigh as much as five layers; untied ones as much as ten. */
TEST(pp_is_even_in_bytes)
{
    struct fake f;

    fake_model(&f, 25, 2, 1, 32, 128);
    check_layers(&f, 2, (size_t[]){10, 15});
    check_layers(&f, 3, (size_t[]){5, 10, 10});
    check_layers(&f, 6, (size_t[]){1, 5, 5, 5, 5, 4});
    f.llama.output.data = "o";
    f.llama.output.bytes = 5000;
    check_layers(&f, 5, (size_t[]){1, 6, 6, 6, 6});
    for (int i = 0; i < 10; i++)
        f.layer[i].down.bytes = 2000;
    check_layers(&f, 3, (size_t[]){3, 8, 14});
}

struct choice {
    int ranks;
    dhole_parallel wanted;
    dhole_err err;
    dhole_parallel chosen;
    const char *words; /* in the reason, or in the error */
};

TEST(chooses_and_says_why)
{
    static const struct choice choices[] = {
        {1, DHOLE_PARALLEL_AUTO, DHOLE_OK, DHOLE_PARALLEL_SINGLE, "one rank"},
        {1, DHOLE_PARALLEL_SINGLE, DHOLE_OK, DHOLE_PARALLEL_SINGLE, "asked for"},
        {1, DHOLE_PARALLEL_TP, DHOLE_ERR_INVALID, 0, "tp needs 2 or more ranks"},
        {1, DHOLE_PARALLEL_PP, DHOLE_ERR_INVALID, 0, "pp needs 2 or more ranks"},
        {2, DHOLE_PARALLEL_AUTO, DHOLE_OK, DHOLE_PARALLEL_TP, "2+1"},
        {2, DHOLE_PARALLEL_SINGLE, DHOLE_ERR_INVALID, 0, "there are 2"},
        {2, DHOLE_PARALLEL_PP, DHOLE_OK, DHOLE_PARALLEL_PP, "asked for"},
        {3, DHOLE_PARALLEL_TP, DHOLE_OK, DHOLE_PARALLEL_TP, "1+1+1"},
        {4, DHOLE_PARALLEL_AUTO, DHOLE_OK, DHOLE_PARALLEL_PP, "3 KV heads are too few for 4"},
        {4, DHOLE_PARALLEL_TP, DHOLE_ERR_UNSUPPORTED, 0, "tp on 4 ranks cannot be: 3 KV heads"},
        {6, DHOLE_PARALLEL_AUTO, DHOLE_ERR_UNSUPPORTED, 0, "5 layers are too few for 6"},
        {6, DHOLE_PARALLEL_PP, DHOLE_ERR_UNSUPPORTED, 0, "5 layers are too few for 6"},
        {0, DHOLE_PARALLEL_AUTO, DHOLE_ERR_INVALID, 0, "0 ranks"},
        {9, DHOLE_PARALLEL_AUTO, DHOLE_ERR_INVALID, 0, "9 ranks"},
        {2, (dhole_parallel)7, DHOLE_ERR_INVALID, 0, "7 is not a way"},
    };
    struct gguf_writer w;
    dhole_model *model = small_model(&w, 1);

    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        const struct choice *c = &choices[i];
        dhole_parallel chosen = DHOLE_PARALLEL_AUTO;
        char reason[256] = "";
        ASSERT_ERR(
            dhole_parallel_choose(model, c->ranks, c->wanted, &chosen, reason, sizeof reason),
            c->err);
        ASSERT_EQ(chosen, c->chosen);
        ASSERT_CONTAINS(c->err ? dhole_error_message() : reason, c->words);
        ASSERT_EQ(reason[0] == '\0', c->err != DHOLE_OK);
    }
    small_model_close(model, &w);
}
