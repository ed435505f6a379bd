#include "model/split.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/sys.h"
#include "model/utf8.h"

/* What Unicode calls White_Space. PCRE2's \s has U+180E too, which the tokenizers that
 * models are trained with have not. */
#define SPACES \
    "\\t-\\r " \
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define SPACE        "[" SPACES "]"
#define SYMBOL       "[^" SPACES "\\p{L}\\p{N}]"
#define CONTRACTION  "'s|'t|'re|'ve|'m|'ll|'d"
#define LAST_SPACES  SPACE "+(?![^" SPACES "])|" SPACE "+"
#define WORD_OR_MARK "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define LINE_ENDS    " ?" SYMBOL "+[\\r\\n]*|" SPACE "*[\\r\\n]+|" LAST_SPACES

static const char gpt2_pattern[] = CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?" SYMBOL "+|" LAST_SPACES;

/* GPT-2's over what is left when each digit is cut out first, hence the spaces before a
 * digit count as the last ones of their stretch. */
static const char digits_pattern[] =
    CONTRACTION "| ?\\p{L}+|\\p{N}| ?" SYMBOL "+|" SPACE "+(?![^" SPACES "\\p{N}])|" SPACE "+";

static const char llama3_pattern[] = WORD_OR_MARK "\\p{N}{1,3}|" LINE_ENDS;

static const char qwen2_pattern[] = WORD_OR_MARK "\\p{N}|" LINE_ENDS;

struct scheme {
    const char *name;
    const char *pattern;
    bool whole_pieces, adds_bos;
};

static const struct scheme schemes[] = {
    {"", gpt2_pattern, false, false},          {"default", gpt2_pattern, false, false},
    {"gpt-2", gpt2_pattern, false, false},     {"smollm", digits_pattern, false, false},
    {"llama3", llama3_pattern, true, true},    {"llama-v3", llama3_pattern, true, true},
    {"llama-bpe", llama3_pattern, true, true}, {"qwen2", qwen2_pattern, false, false},
};

/* Far above what a piece takes that is as long as the longest text. */
enum { match_limit = 1 << 30 };

struct dhole__split {
    const struct scheme *scheme;
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *code;
};

static void *get_memory(PCRE2_SIZE size, void *arg)
{
    (void)arg;
    return dhole__sys.malloc(size);
}

static void free_memory(void *p, void *arg)
{
    (void)arg;
    free(p);
}

static const struct scheme *find_scheme(struct dhole__gguf_string name)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (dhole__gguf_string_is(name, schemes[i].name))
            return &schemes[i];
    return NULL;
}

static dhole_err fail_pcre2(int code, const char *what)
{
    char text[128];

    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED)
        return dhole__fail(DHOLE_ERR_NOMEM, "no memory to %s", what);
    if (code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_JIT_STACKLIMIT)
        return dhole__fail(DHOLE_ERR_LIMIT, "cannot %s: %s", what, text);
    return dhole__fail(DHOLE_ERR_UNSUPPORTED, "cannot %s: PCRE2: %s", what, text);
}

static dhole_err compile(struct dhole__split *s)
{
    pcre2_compile_context *compiling = pcre2_compile_context_create(s->memory);
    PCRE2_SIZE at;
    int code = PCRE2_ERROR_NOMEMORY;

    if (compiling != NULL)
        s->code = pcre2_compile((PCRE2_SPTR)s->scheme->pattern, PCRE2_ZERO_TERMINATED,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &code, &at, compiling);
    pcre2_compile_context_free(compiling);
    if (s->code == NULL)
        return fail_pcre2(code, "compile the pre-tokenizer's pattern");
    /* Where there is no JIT, the interpreter runs the pattern. */
    code = pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);
    if (code == PCRE2_ERROR_NOMEMORY)
        return fail_pcre2(code, "compile the pre-tokenizer's pattern");
    return DHOLE_OK;
}

dhole_err dhole__split_create(struct dhole__gguf_string name, struct dhole__split **out)
{
    const struct scheme *scheme = find_scheme(name);
    char buf[dhole__gguf_shown_size];
    struct dhole__split *s;
    dhole_err err;

    if (scheme == NULL)
        return dhole__fail(DHOLE_ERR_UNSUPPORTED,
                           "tokenizer.ggml.pre is \"%s\"; default, gpt-2, smollm, llama-bpe and "
                           "qwen2 are supported",
                           dhole__gguf_shown(name, buf));
    s = dhole__sys.calloc(1, sizeof *s);
    if (s == NULL)
        return dhole__fail_nomem(sizeof *s, "the pre-tokenizer");
    s->scheme = scheme;
    s->memory = pcre2_general_context_create(get_memory, free_memory, NULL);
    s->limits = pcre2_match_context_create(s->memory);
    if (s->memory == NULL || s->limits == NULL)
        err = dhole__fail(DHOLE_ERR_NOMEM, "no memory for the pre-tokenizer");
    else
        err = compile(s);
    if (err) {
        dhole__split_free(s);
        return err;
    }
    pcre2_set_match_limit(s->limits, match_limit);
    *out = s;
    return DHOLE_OK;
}

void dhole__split_free(struct dhole__split *s)
{
    if (s == NULL)
        return;
    pcre2_code_free(s->code);
    pcre2_match_context_free(s->limits);
    pcre2_general_context_free(s->memory);
    free(s);
}

bool dhole__split_whole_pieces(const struct dhole__split *split)
{
    return split->scheme->whole_pieces;
}

bool dhole__split_adds_bos(const struct dhole__split *split)
{
    return split->scheme->adds_bos;
}

struct run {
    const struct dhole__split *split;
    pcre2_match_data *match;
    dhole_err (*fn)(void *arg, const char *piece, size_t length);
    void *arg;
};

/* Pieces of valid UTF-8: between them the alternatives of each pattern take any character. */
static dhole_err run_valid(struct run *run, const char *text, size_t length)
{
    const PCRE2_SIZE *match = pcre2_get_ovector_pointer(run->match);
    dhole_err err = DHOLE_OK;

    for (size_t pos = 0; pos < length && !err; pos = match[1]) {
        int code = pcre2_match(run->split->code, (PCRE2_SPTR)text, length, pos,
                               PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, run->match, run->split->limits);
        if (code < 0)
            return fail_pcre2(code, "cut the text into words");
        err = run->fn(run->arg, text + pos, match[1] - pos);
    }
    return err;
}

/* The length of the longest start of the text that is valid UTF-8, or that holds no start
 * of a valid sequence. */
static size_t stretch(const char *text, size_t length, bool *valid)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t n = 0, step;
    uint32_t code;

    *valid = dhole__utf8_decode(p, length, &code) > 0;
    while (n < length) {
        step = dhole__utf8_decode(p + n, length - n, &code);
        if ((step > 0) != *valid)
            break;
        n += step > 0 ? step : 1;
    }
    return n;
}

dhole_err dhole__split_run(const struct dhole__split *split, const char *text, size_t length,
                           dhole_err (*fn)(void *arg, const char *piece, size_t length), void *arg)
{
    struct run run = {split, NULL, fn, arg};
    dhole_err err = DHOLE_OK;

    run.match = pcre2_match_data_create(1, split->memory);
    if (run.match == NULL)
        return dhole__fail(DHOLE_ERR_NOMEM, "no memory to cut the text into words");
    for (size_t pos = 0; pos < length && !err;) {
        bool valid;
        size_t n = stretch(text + pos, length - pos, &valid);
        err = valid ? run_valid(&run, text + pos, n) : fn(arg, text + pos, n);
        pos += n;
    }
    pcre2_match_data_free(run.match);
    return err;
}
