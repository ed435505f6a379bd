#include "base/json.h"

#include <errno.h>
#include <unistd.h>

#include "base/sys.h"
#include "test.h"

static const char *write_file(const char *text, size_t length)
{
    static char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/file.json", test_dir());
    f = fopen(path, "w");
    ASSERT(f != NULL && fwrite(text, 1, length, f) == length && fclose(f) == 0);
    return path;
}

TEST(a_file_is_read)
{
    const char *text = "{\"name\": \"a\", \"count\": 3}";
    json_t *root = NULL;
    const char *name;
    long long count;

    ASSERT_OK(dhole__json_load(write_file(text, strlen(text)), &root));
    ASSERT_OK(dhole__json_string(root, "name", &name));
    ASSERT_STR(name, "a");
    ASSERT_OK(dhole__json_int(root, "count", 0, 3, &count));
    ASSERT_EQ(count, 3);
    json_decref(root);
}

TEST(a_missing_file_is_named)
{
    json_t *root = NULL;

    ASSERT_ERR(dhole__json_load("/no/such/file.json", &root), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "/no/such/file.json");
    ASSERT_CONTAINS(dhole_error_message(), strerror(ENOENT));
    ASSERT(root == NULL);
}

TEST(a_directory_is_no_file)
{
    json_t *root = NULL;

    ASSERT_ERR(dhole__json_load(test_dir(), &root), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), test_dir());
}

TEST(damaged_text_is_named_with_its_line)
{
    static const char *const texts[] = {
        "", "{", "[1,]", "\"a", "[\"\xff\"]", "1 2", "{\"a\":1,\"a\":2}"};
    json_t *root = NULL;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ASSERT_ERR(dhole__json_parse(texts[i], strlen(texts[i]), "the hosts", &root),
                   DHOLE_ERR_CONFIG);
        ASSERT_CONTAINS(dhole_error_message(), "the hosts: line ");
    }
    ASSERT_ERR(dhole__json_parse("[1,\n2,\n?]", 9, "the hosts", &root), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "line 3");
    ASSERT(root == NULL);
}

TEST(deep_nesting_is_refused)
{
    enum { depth = 1 << 20 };
    char *text = malloc(depth);
    json_t *root = NULL;

    memset(text, '[', depth);
    ASSERT_ERR(dhole__json_parse(text, depth, "deep", &root), DHOLE_ERR_CONFIG);
    free(text);
}

TEST(a_file_beyond_the_limit_is_refused)
{
    enum { size = (16 << 20) + 1 };
    char *text = malloc(size);
    json_t *root = NULL;

    memset(text, ' ', size);
    ASSERT_ERR(dhole__json_load(write_file(text, size), &root), DHOLE_ERR_LIMIT);
    ASSERT_CONTAINS(dhole_error_message(), test_dir());
    free(text);
}

TEST(a_missing_or_mistyped_key_is_named)
{
    json_t *root = NULL;
    const char *text;
    long long n;

    ASSERT_OK(dhole__json_parse("{\"a\": 1, \"b\": \"x\"}", 18, "it", &root));
    ASSERT_ERR(dhole__json_string(root, "a", &text), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "\"a\" must be a string");
    ASSERT_ERR(dhole__json_string(root, "c", &text), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "\"c\"");
    ASSERT_ERR(dhole__json_int(root, "b", 0, 9, &n), DHOLE_ERR_CONFIG);
    ASSERT_ERR(dhole__json_int(root, "a", 2, 9, &n), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "from 2 to 9");
    json_decref(root);
}

static void *no_memory(size_t size)
{
    (void)size;
    return NULL;
}

TEST(no_memory_for_a_file_is_an_error)
{
    json_t *root = NULL;
    const char *path = write_file("[]", 2);

    dhole__sys.malloc = no_memory;
    ASSERT_ERR(dhole__json_load(path, &root), DHOLE_ERR_NOMEM);
    ASSERT(root == NULL);
}
