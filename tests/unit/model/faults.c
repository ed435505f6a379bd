/* Opening and using a model while the Nth allocation or system call fails: an error, no crash,
 * no leak (the sanitizers watch), and nothing changed. */
#include <errno.h>

#include "base/sys.h"
#include "dhole/model.h"
#include "gguf_writer.h"
#include "test.h"

static struct dhole__sys real;
static int left; /* calls that still succeed */

static int fails(void)
{
    errno = ENOMEM;
    return left-- == 0;
}

static void *failing_malloc(size_t size)
{
    return fails() ? NULL : real.malloc(size);
}

static void *failing_calloc(size_t count, size_t size)
{
    return fails() ? NULL : real.calloc(count, size);
}

static void *failing_realloc(void *old, size_t size)
{
    return fails() ? NULL : real.realloc(old, size);
}

static int failing_open(const char *path, int flags, mode_t mode)
{
    return fails() ? -1 : real.open(path, flags, mode);
}

static int failing_fstat(int fd, struct stat *st)
{
    return fails() ? -1 : real.fstat(fd, st);
}

static void *failing_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    return fails() ? (void *)-1 : real.mmap(addr, length, prot, flags, fd, offset);
}

static void fail_after(int calls)
{
    left = calls;
    dhole__sys.malloc = failing_malloc;
    dhole__sys.calloc = failing_calloc;
    dhole__sys.realloc = failing_realloc;
    dhole__sys.open = failing_open;
    dhole__sys.fstat = failing_fstat;
    dhole__sys.mmap = failing_mmap;
}

static void expect_failure(dhole_err err)
{
    ASSERT_MSG(err == DHOLE_ERR_NOMEM || err == DHOLE_ERR_SYSTEM, "%s: %s", dhole_error_name(err),
               dhole_error_message());
    ASSERT(dhole_error_message()[0] != '\0');
}

static void write_tiny(char path[static 128])
{
    struct gguf_writer w;
    FILE *f;

    snprintf(path, 128, "%s/tiny.gguf", test_dir());
    gguf_tiny(&w, NULL);
    f = fopen(path, "wb");
    ASSERT(f != NULL && fwrite(w.data, 1, w.size, f) == w.size && fclose(f) == 0);
    gguf_free(&w);
}

TEST(nth_call_fails_in_open)
{
    enum { calls_max = 1000 };
    char path[128];
    dhole_model *model = NULL;
    dhole_err err = DHOLE_ERR_NOMEM;
    int n;

    real = dhole__sys;
    write_tiny(path);
    for (n = 0; err && n < calls_max; n++) {
        fail_after(n);
        err = dhole_model_open(path, &model);
        dhole__sys = real;
        if (err) {
            expect_failure(err);
            ASSERT_CONTAINS(dhole_error_message(), path);
            ASSERT(model == NULL);
        }
    }
    ASSERT(n > 10 && n < calls_max);
    dhole_model_close(model);
}

TEST(nth_call_fails_in_tokenize)
{
    enum { calls_max = 1000 };
    static const char text[] = "hello hello <|im_end|> and some more words so that the list of "
                               "tokens has to grow a few times before it ends here";
    char path[128];
    dhole_model *model;
    dhole_err err = DHOLE_ERR_NOMEM;
    int32_t *ids = NULL;
    size_t count = 7;
    int n;

    real = dhole__sys;
    write_tiny(path);
    ASSERT_OK(dhole_model_open(path, &model));
    for (n = 0; err && n < calls_max; n++) {
        fail_after(n);
        err = dhole_tokenize(model, text, strlen(text), true, &ids, &count);
        dhole__sys = real;
        if (err) {
            expect_failure(err);
            ASSERT(ids == NULL && count == 7);
        }
    }
    ASSERT(n > 3 && n < calls_max);
    free(ids);
    ids = NULL;
    for (n = 0, err = DHOLE_ERR_NOMEM; err && n < calls_max; n++) {
        fail_after(n);
        err = dhole_prompt_tokens(model, text, text, false, &ids, &count);
        dhole__sys = real;
        if (err)
            expect_failure(err);
    }
    ASSERT(n > 3 && n < calls_max);
    free(ids);
    dhole_model_close(model);
}
