/* The tokenizer and the chat template: with the tiny model, where every token is known, and
 * with a real one. */
#include "dhole/model.h"

#include <pthread.h>
#include <stdbool.h>

#include "gguf_writer.h"
#include "model/model.h"
#include "test.h"

enum { space = ' ', newline = '\n' };

static dhole_model *finish(struct gguf_writer *w)
{
    dhole_model *model;

    gguf_finish(w);
    ASSERT_OK(dhole__model_open_memory(w->data, w->size, &model));
    return model;
}

static void close_tiny(dhole_model *model, struct gguf_writer *w)
{
    dhole_model_close(model);
    gguf_free(w);
}

static void expect_ids(const char *what, const int32_t *ids, size_t count, const int32_t *expected,
                       size_t expected_count)
{
    for (size_t i = 0; i < count && i < expected_count; i++)
        ASSERT_MSG(ids[i] == expected[i], "%s: token %zu is %d, expected %d", what, i, ids[i],
                   expected[i]);
    ASSERT_MSG(count == expected_count, "%s: %zu tokens, expected %zu", what, count,
               expected_count);
}

#define EXPECT(model, text, special, ...)                                                \
    do {                                                                                 \
        const int32_t expected_[] = {__VA_ARGS__};                                       \
        int32_t *ids_;                                                                   \
        size_t count_;                                                                   \
        ASSERT_OK(dhole_tokenize(model, text, strlen(text), special, &ids_, &count_));   \
        expect_ids(text, ids_, count_, expected_, sizeof expected_ / sizeof *expected_); \
        free(ids_);                                                                      \
    } while (0)

/* Without `special` the tokens' bytes are the text again, whatever it is. */
static void round_trip(const dhole_model *model, const void *text, size_t length)
{
    int32_t *ids;
    size_t count, at = 0, n;

    ASSERT_OK(dhole_tokenize(model, text, length, false, &ids, &count));
    for (size_t i = 0; i < count; i++) {
        const char *bytes = dhole_token_bytes(model, ids[i], &n);
        ASSERT(bytes != NULL && n > 0 && n <= length - at);
        ASSERT(memcmp(bytes, (const char *)text + at, n) == 0);
        at += n;
    }
    ASSERT_EQ(at, length);
    free(ids);
}

TEST(merges_in_order_of_rank)
{
    struct gguf_writer w;
    dhole_model *model;
    int32_t *ids;
    size_t count;

    gguf_tiny_start(&w, NULL);
    model = finish(&w);
    EXPECT(model, "hello", false, tiny_hello);
    EXPECT(model, "hello hello", false, tiny_hello, tiny_space_hello);
    EXPECT(model, "hhe", false, 'h', tiny_he);
    EXPECT(model, "lll", false, tiny_he + 1, 'l');
    EXPECT(model, "helo", false, tiny_he, 'l', 'o');
    EXPECT(model, "12", false, '1', '2');
    ASSERT_OK(dhole_tokenize(model, "", 0, false, &ids, &count));
    ASSERT(ids != NULL);
    ASSERT_EQ(count, 0);
    free(ids);
    close_tiny(model, &w);
}

TEST(special_tokens_only_when_asked_for)
{
    struct gguf_writer w;
    dhole_model *model;

    gguf_tiny_start(&w, NULL);
    model = finish(&w);
    EXPECT(model, "<|im_end|>", true, tiny_end);
    EXPECT(model, "h<|im_end|>he<|im_start|>", true, 'h', tiny_end, tiny_he, tiny_start);
    EXPECT(model, "<|im_end|><|im_end|><|im_end|>", true, tiny_end_of_all, tiny_end);
    EXPECT(model, "<|im_end", true, '<', '|', 'i', 'm', '_', 'e', 'n', 'd');
    EXPECT(model, "<|im_end|>", false, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>');
    EXPECT(model, "a\t b", true, 'a', tiny_user_defined, 'b');
    EXPECT(model, "a\t b", false, 'a', '\t', space, 'b');
    close_tiny(model, &w);
}

TEST(what_tokens_stand_for)
{
    struct gguf_writer w;
    dhole_model *model;
    size_t n;

    gguf_tiny_start(&w, NULL);
    model = finish(&w);
    for (int b = 0; b < 256; b++) {
        const char *bytes = dhole_token_bytes(model, b, &n);
        ASSERT_EQ(n, 1);
        ASSERT_EQ((unsigned char)bytes[0], b);
    }
    ASSERT(memcmp(dhole_token_bytes(model, tiny_space_hello, &n), " hello", 6) == 0);
    ASSERT_EQ(n, 6);
    ASSERT(memcmp(dhole_token_bytes(model, tiny_user_defined, &n), "\t ", 2) == 0);
    ASSERT_EQ(n, 2);
    ASSERT(dhole_token_bytes(model, tiny_end, &n) != NULL);
    ASSERT_EQ(n, 0);
    ASSERT(dhole_token_bytes(model, -1, &n) == NULL);
    ASSERT(dhole_token_bytes(model, tiny_vocab, &n) == NULL);
    ASSERT(dhole_token_is_end(model, tiny_end));
    ASSERT(dhole_token_is_end(model, tiny_end_of_text));
    ASSERT(!dhole_token_is_end(model, tiny_start));
    ASSERT(!dhole_token_is_end(model, -1));
    close_tiny(model, &w);
}

TEST(any_bytes_survive)
{
    unsigned char text[4096];
    unsigned long long state = 7;
    struct gguf_writer w;
    dhole_model *model;

    gguf_tiny_start(&w, NULL);
    model = finish(&w);
    for (int round = 0; round < 200; round++) {
        size_t length = test_random(&state) % sizeof text;
        int range = round % 2 ? 256 : 16;
        for (size_t i = 0; i < length; i++) {
            unsigned long long r = test_random(&state);
            text[i] =
                (unsigned char)(range == 256
                                    ? r
                                    : (unsigned char)"h \xe2\x82\xac\xff\xf0\x9f\x98\x80\xc0 \nl1"
                                          [r % 16]);
        }
        round_trip(model, text, length);
    }
    close_tiny(model, &w);
}

/* The tiny model with another vocabulary. */
static void start_vocab(struct gguf_writer *w, const char *pre, const char *const *tokens,
                        size_t count, const char *merge)
{
    gguf_tiny_start(
        w,
        "tokenizer.ggml.pre tokenizer.ggml.tokens tokenizer.ggml.token_type tokenizer.ggml.merges "
        "tokenizer.ggml.bos_token_id tokenizer.ggml.eos_token_id token_embd.weight");
    gguf_text(w, "tokenizer.ggml.pre", pre);
    gguf_texts(w, "tokenizer.ggml.tokens", tokens, count);
    gguf_texts(w, "tokenizer.ggml.merges", &merge, 1);
    gguf_tensor(w, "token_embd.weight", DHOLE__F32, tiny_hidden, count);
}

/* The text is refused, nothing is dropped. */
TEST(missing_bytes_are_named)
{
    static const char *const tokens[] = {"a", "b", "ab"};
    struct gguf_writer w;
    dhole_model *model;
    int32_t *ids;
    size_t count;

    start_vocab(&w, "gpt-2", tokens, 3, "a b");
    model = finish(&w);
    EXPECT(model, "aab", false, 0, 2);
    ASSERT_ERR(dhole_tokenize(model, "ab a", 4, false, &ids, &count), DHOLE_ERR_UNSUPPORTED);
    ASSERT_CONTAINS(dhole_error_message(), "byte 2 of the text is 0x20");
    close_tiny(model, &w);
}

TEST(pre_tokenizers)
{
    struct gguf_writer w;
    dhole_model *model;

    gguf_tiny_start(&w, "tokenizer.ggml.pre");
    gguf_text(&w, "tokenizer.ggml.pre", "gpt-2");
    model = finish(&w);
    EXPECT(model, "12 12", false, tiny_twelve, space, tiny_twelve);
    EXPECT(model, "\tello", false, '\t', 'e', tiny_he + 1, 'o');
    close_tiny(model, &w);

    gguf_tiny_start(&w, "tokenizer.ggml.pre");
    gguf_text(&w, "tokenizer.ggml.pre", "llama-bpe");
    model = finish(&w);
    EXPECT(model, "1212", false, tiny_twelve, '1', '2');
    EXPECT(model, "\thello", false, '\t', tiny_hello);
    close_tiny(model, &w);

    gguf_tiny_start(&w, "tokenizer.ggml.pre");
    gguf_text(&w, "tokenizer.ggml.pre", "qwen2");
    model = finish(&w);
    EXPECT(model, "12", false, '1', '2');
    close_tiny(model, &w);
}

TEST(whole_pieces_need_no_merge)
{
    static const char *const tokens[] = {"a", "b", "ab", "ba"};
    struct gguf_writer w;
    dhole_model *model;

    start_vocab(&w, "gpt-2", tokens, 4, "b a");
    model = finish(&w);
    EXPECT(model, "ab", false, 0, 1);
    close_tiny(model, &w);

    start_vocab(&w, "llama-bpe", tokens, 4, "b a");
    model = finish(&w);
    EXPECT(model, "ab", false, 2);
    close_tiny(model, &w);
}

static void refuse(struct gguf_writer *w, const char *part)
{
    dhole_model *model;

    gguf_finish(w);
    ASSERT_ERR(dhole__model_open_memory(w->data, w->size, &model), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), part);
    gguf_free(w);
}

TEST(bad_vocabularies)
{
    static const char *const tokens[] = {"a", "b", "ab"};
    static const char *const merges[] = {"a c", "ab", " a", "a ", "b a", ""};
    static const int32_t kinds[] = {1, 7, 1};
    struct gguf_writer w;

    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        start_vocab(&w, "gpt-2", tokens, 3, merges[i]);
        refuse(&w, "merge 0 of tokenizer.ggml.merges");
    }
    start_vocab(&w, "gpt-2", tokens, 3, "a b");
    gguf_i32s(&w, "tokenizer.ggml.token_type", kinds, 3);
    refuse(&w, "token 1 is of type 7");
    start_vocab(&w, "gpt-2", tokens, 3, "a b");
    gguf_i32s(&w, "tokenizer.ggml.token_type", kinds, 2);
    refuse(&w, "2 token types for a vocabulary of 3 tokens");
    start_vocab(&w, "gpt-2", tokens, 3, "a b");
    gguf_u32(&w, "tokenizer.ggml.eos_token_id", 3);
    refuse(&w, "tokenizer.ggml.eos_token_id is 3");
    start_vocab(&w, "gpt-2", tokens, 3, "a b");
    gguf_i32s(&w, "tokenizer.ggml.token_type", kinds, 0);
    refuse(&w, "0 token types");
    gguf_tiny_start(&w, "tokenizer.ggml.add_bos_token tokenizer.ggml.bos_token_id");
    gguf_bool(&w, "tokenizer.ggml.add_bos_token", 1);
    refuse(&w, "tokenizer.ggml.bos_token_id is missing");
}

/* Ordinary text does not become a control token through a merge either. */
TEST(merges_do_not_make_control_tokens)
{
    static const char *const tokens[] = {"a", "b", "ab"};
    static const int32_t kinds[] = {1, 1, 3};
    struct gguf_writer w;
    dhole_model *model;

    start_vocab(&w, "gpt-2", tokens, 3, "a b");
    gguf_i32s(&w, "tokenizer.ggml.token_type", kinds, 3);
    model = finish(&w);
    EXPECT(model, "ab", false, 0, 1);
    EXPECT(model, "ab", true, 2);
    close_tiny(model, &w);

    /* Without token types the end token is a control token. */
    start_vocab(&w, "gpt-2", tokens, 3, "a b");
    gguf_u32(&w, "tokenizer.ggml.eos_token_id", 2);
    model = finish(&w);
    EXPECT(model, "ab", false, 0, 1);
    EXPECT(model, "ab", true, 2);
    close_tiny(model, &w);
}

TEST(a_name_outside_the_alphabet_stands_for_itself)
{
    static const char *const tokens[] = {"a", "b", "ab", "a b", "\xff\xc4\xa0"};
    struct gguf_writer w;
    dhole_model *model;
    size_t n;

    start_vocab(&w, "gpt-2", tokens, 5, "a b");
    model = finish(&w);
    ASSERT(memcmp(dhole_token_bytes(model, 3, &n), "a b", 3) == 0);
    ASSERT_EQ(n, 3);
    ASSERT(memcmp(dhole_token_bytes(model, 4, &n), "\xff\xc4\xa0", 3) == 0);
    ASSERT_EQ(n, 3);
    close_tiny(model, &w);
}

TEST(too_long_a_text)
{
    enum { length = (16 << 20) + 1 };
    struct gguf_writer w;
    dhole_model *model;
    char *text = calloc(length, 1);
    int32_t *ids;
    size_t count;

    gguf_tiny_start(&w, NULL);
    model = finish(&w);
    ASSERT(text != NULL);
    ASSERT_ERR(dhole_tokenize(model, text, length, false, &ids, &count), DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(dhole_error_message(), "16777217 bytes");
    free(text);
    close_tiny(model, &w);
}

#define EXPECT_PROMPT(model, system, prompt, raw, ...)                                     \
    do {                                                                                   \
        const int32_t expected_[] = {__VA_ARGS__};                                         \
        int32_t *ids_;                                                                     \
        size_t count_;                                                                     \
        ASSERT_OK(dhole_prompt_tokens(model, system, prompt, raw, &ids_, &count_));        \
        expect_ids(prompt, ids_, count_, expected_, sizeof expected_ / sizeof *expected_); \
        free(ids_);                                                                        \
    } while (0)

#define USER                                                                                    \
    tiny_start, 'u', 's', 'e', 'r', newline, 'h', 'i', tiny_end, newline, tiny_start, 'a', 's', \
        's', 'i', 's', 't', 'a', 'n', 't', newline
#define SYSTEM tiny_start, 's', 'y', 's', 't', 'e', 'm', newline

TEST(chat_template)
{
    struct gguf_writer w;
    dhole_model *model;
    int32_t *ids;
    size_t count;

    gguf_tiny_start(&w, NULL);
    model = finish(&w);
    EXPECT_PROMPT(model, NULL, "hi", false, SYSTEM, 'B', 'e', space, '\'', 't', 'e', 'r', 's', 'e',
                  '\'', '.', tiny_end, newline, USER);
    EXPECT_PROMPT(model, "X", "hi", false, SYSTEM, 'X', tiny_end, newline, USER);
    EXPECT_PROMPT(model, "", "hi", false, SYSTEM, tiny_end, newline, USER);
    EXPECT_PROMPT(model, NULL, "hello<|im_end|>", true, tiny_hello, tiny_end);
    ASSERT_ERR(dhole_prompt_tokens(model, "X", "hi", true, &ids, &count), DHOLE_ERR_INVALID);

    /* Control tokens come from the template alone. */
    ASSERT_OK(dhole_prompt_tokens(model, "<|im_end|>", "<|im_start|>system", false, &ids, &count));
    for (size_t i = 0, controls = 0; i < count; i++) {
        controls += ids[i] >= tiny_end_of_text;
        ASSERT(controls <= 5);
    }
    free(ids);
    close_tiny(model, &w);
}

/* The first tokens of a prompt without a system text of the user's. */
static void expect_system(const char *template, const char *expected)
{
    struct gguf_writer w;
    dhole_model *model;
    int32_t *ids, *wanted = NULL;
    size_t count, wanted_count = 0;

    gguf_tiny_start(&w, "tokenizer.chat_template");
    gguf_text(&w, "tokenizer.chat_template", template);
    model = finish(&w);
    ASSERT_OK(dhole_prompt_tokens(model, NULL, "hi", false, &ids, &count));
    ASSERT_OK(dhole_tokenize(model, expected, strlen(expected), true, &wanted, &wanted_count));
    expect_ids(template, ids, count, wanted, wanted_count);
    free(ids);
    free(wanted);
    close_tiny(model, &w);
}

TEST(system_text_of_the_template)
{
    static const char user[] = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    char with[256];

    expect_system("{{'<|im_start|>' + message['role'] + '\n'}}", user);
    expect_system("<|im_start|>{{ role }}<|im_end|>", user);
    expect_system("{{'<|im_start|>system\n' + text + '<|im_end|>'}}", user);
    expect_system("<|im_start|>system\n{{ text }}<|im_end|>", user);
    expect_system("{{ '<|im_start|>systematic\nA<|im_end|>' }}", user);
    expect_system("{{ '<|im_start|>system\n", user);
    snprintf(with, sizeof with, "<|im_start|>system\nA \"B\" {C}<|im_end|>\n%s", user);
    expect_system("{{ '<|im_start|>system\nA \"B\" {C}<|im_end|>' }}", with);
    expect_system("{{ \"<|im_start|>system\\nA \\\"B\\\" {C}<|im_end|>\" }}", with);
    expect_system("{% if x %}<|im_start|>system\nA \"B\" {C}<|im_end|>{% endif %}", with);
    expect_system("<|im_start|>{{ role }}<|im_start|>system\nA \"B\" {C}<|im_end|>", with);
}

TEST(unknown_chat_template)
{
    static const char *const templates[] = {"{{ '[INST]' }}", ""};
    struct gguf_writer w;
    dhole_model *model;
    int32_t *ids;
    size_t count;

    for (size_t i = 0; i < 2; i++) {
        gguf_tiny_start(&w, "tokenizer.chat_template");
        gguf_text(&w, "tokenizer.chat_template", templates[i]);
        model = finish(&w);
        ASSERT_ERR(dhole_prompt_tokens(model, NULL, "hi", false, &ids, &count),
                   DHOLE_ERR_UNSUPPORTED);
        ASSERT_CONTAINS(dhole_error_message(), "raw");
        EXPECT_PROMPT(model, NULL, "hi", true, 'h', 'i');
        close_tiny(model, &w);
    }
}

TEST(begin_token_when_the_file_wants_it)
{
    struct gguf_writer w;
    dhole_model *model;

    gguf_tiny_start(&w, "tokenizer.ggml.add_bos_token tokenizer.chat_template");
    gguf_bool(&w, "tokenizer.ggml.add_bos_token", 1);
    gguf_text(&w, "tokenizer.chat_template", "<|im_start|>");
    model = finish(&w);
    EXPECT_PROMPT(model, NULL, "hi", true, tiny_start, 'h', 'i');
    EXPECT_PROMPT(model, NULL, "hi", false, tiny_start, USER);
    EXPECT(model, "hi", false, 'h', 'i');
    close_tiny(model, &w);
}

static void *use_model(void *model)
{
    for (int i = 0; i < 200; i++) {
        round_trip(model, "hello hello 12 \xff", 16);
        EXPECT((const dhole_model *)model, "h<|im_end|>", true, 'h', tiny_end);
    }
    return NULL;
}

TEST(threads_share_a_model)
{
    enum { threads = 4 };
    pthread_t thread[threads];
    struct gguf_writer w;
    dhole_model *model;

    gguf_tiny_start(&w, NULL);
    model = finish(&w);
    for (int i = 0; i < threads; i++)
        ASSERT_EQ(pthread_create(&thread[i], NULL, use_model, model), 0);
    for (int i = 0; i < threads; i++)
        ASSERT_EQ(pthread_join(thread[i], NULL), 0);
    close_tiny(model, &w);
}

static dhole_model *open_real(void)
{
    const char *path = getenv("DHOLE_TEST_MODEL");
    dhole_model *model;

    if (path == NULL)
        test_skip("DHOLE_TEST_MODEL does not name a model file");
    ASSERT_OK(dhole_model_open(path, &model));
    return model;
}

TEST(real_model_keeps_unicode)
{
    static const char *const texts[] = {
        "Hello, world!",
        " \t\r\n  two  spaces\n\n\n",
        "Grüße, Ærøskøbing, Łódź",
        "Привет, мир! Καλημέρα κόσμε",
        "你好，世界。 こんにちは 안녕하세요",
        "שלום مرحبا नमस्ते สวัสดี",
        "👩‍👩‍👧‍👦 🇩🇪 👍🏽 𝒳𝓎𝓏 𒀀",
        "e\xcc\x81 \xe2\x80\x8b \xc2\xad \xef\xbb\xbf",
        "\x80 \xe2\x82 \xed\xa0\x80 \xf0\x9f\x98",
    };
    dhole_model *model = open_real();

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        round_trip(model, texts[i], strlen(texts[i]));
    dhole_model_close(model);
}

TEST(real_model_prompt)
{
    static const char text[] =
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n";
    dhole_model *model = open_real();
    int32_t *ids, *wanted;
    size_t count, wanted_count;

    ASSERT_OK(dhole_prompt_tokens(model, NULL, "Hi!", false, &ids, &count));
    ASSERT_OK(dhole_tokenize(model, text, strlen(text), true, &wanted, &wanted_count));
    expect_ids("prompt", ids, count, wanted, wanted_count);
    free(ids);
    free(wanted);
    dhole_model_close(model);
}

/* What a quadratic algorithm would take minutes for. */
TEST_LIMIT(long_words_take_no_time, 20)
{
    enum { length = 1 << 20 };
    char *text = malloc(length + 1);
    dhole_model *model = open_real();

    ASSERT(text != NULL);
    memset(text, 'a', length);
    round_trip(model, text, length);
    memset(text, ' ', length);
    text[length] = 'x';
    round_trip(model, text, length + 1);
    memset(text, '\n', length);
    round_trip(model, text, length);
    memset(text, '=', length);
    round_trip(model, text, length);
    free(text);
    dhole_model_close(model);
}
