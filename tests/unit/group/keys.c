/* What DHOLE_SEAL, DHOLE_PINS and DHOLE_IDENTITY give. */
#include "group/keys.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

enum { ranks = 3 };

extern char **environ;

/* Three ranks: their keys, and what a file of pins says of them. */
static dhole_identity *identity[ranks];
static char fingerprint[ranks][DHOLE_FINGERPRINT_SIZE];

static void clear_environment(void)
{
    static char *nothing[] = {NULL};

    environ = nothing;
    setenv("HOME", test_dir(), 1);
}

static void make_keys(void)
{
    clear_environment();
    for (int r = 0; r < ranks; r++) {
        dhole_pin pin;
        ASSERT_OK(dhole_identity_generate(&identity[r]));
        dhole_identity_pin(identity[r], &pin);
        dhole_fingerprint(&pin, fingerprint[r]);
    }
}

static void free_keys(void)
{
    for (int r = 0; r < ranks; r++)
        dhole_identity_free(identity[r]);
}

static const char *write_file(const char *name, const char *text, size_t length, mode_t mode)
{
    static char path[256];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    unlink(path);
    file = fopen(path, "w");
    ASSERT(file != NULL && fwrite(text, 1, length, file) == length && fclose(file) == 0);
    ASSERT(chmod(path, mode) == 0);
    return path;
}

static void set_identity(int rank)
{
    char *pem;
    size_t length;

    ASSERT_OK(dhole_identity_to_pem(identity[rank], &pem, &length));
    setenv("DHOLE_IDENTITY", write_file("key.pem", pem, length, 0600), 1);
    dhole_secret_free(pem, length);
}

static void set_pins(const char *text)
{
    setenv("DHOLE_PINS", write_file("pins", text, strlen(text), 0644), 1);
}

/* One line a rank. */
static void set_all_pins(void)
{
    char text[1024];

    snprintf(text, sizeof text, "%s\n%s\n%s\n", fingerprint[0], fingerprint[1], fingerprint[2]);
    set_pins(text);
}

static void expect(dhole_err expected, const char *part)
{
    struct dhole__keys keys;

    ASSERT_ERR(dhole__keys_read(1, ranks, &keys), expected);
    ASSERT_CONTAINS(dhole_error_message(), part);
    ASSERT(keys.identity == NULL);
}

static void expect_keys(void)
{
    struct dhole__keys keys;
    dhole_pin pin;

    ASSERT_OK(dhole__keys_read(1, ranks, &keys));
    ASSERT(keys.identity != NULL);
    dhole_identity_pin(keys.identity, &pin);
    ASSERT(memcmp(&pin, &keys.pins[1], sizeof pin) == 0);
    for (int r = 0; r < ranks; r++) {
        char text[DHOLE_FINGERPRINT_SIZE];
        dhole_fingerprint(&keys.pins[r], text);
        ASSERT_STR(text, fingerprint[r]);
    }
    dhole__keys_free(&keys);
}

TEST(three_words_say_what_is_sealed)
{
    static const struct {
        const char *text;
        enum dhole__sealing sealing;
    } words[] = {{NULL, DHOLE__SEAL_AUTO},
                 {"", DHOLE__SEAL_AUTO},
                 {"auto", DHOLE__SEAL_AUTO},
                 {"on", DHOLE__SEAL_ON},
                 {"off", DHOLE__SEAL_OFF}};
    static const char *const others[] = {"no", "0", "ON", "of", "offf", " off", "auto "};
    enum dhole__sealing sealing;

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        ASSERT_OK(dhole__sealing_parse(words[i].text, &sealing));
        ASSERT_EQ(sealing, words[i].sealing);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        ASSERT_ERR(dhole__sealing_parse(others[i], &sealing), DHOLE_ERR_CONFIG);
        ASSERT_CONTAINS(dhole_error_message(), others[i]);
        ASSERT_CONTAINS(dhole_error_message(), "auto, on or off");
    }
}

TEST(without_pins_there_are_no_keys)
{
    struct dhole__keys keys;

    make_keys();
    set_identity(1);
    ASSERT_OK(dhole__keys_read(1, ranks, &keys));
    ASSERT(keys.identity == NULL);
    free_keys();
}

TEST(a_line_of_pins_is_a_rank)
{
    char text[1024];

    make_keys();
    set_identity(1);
    set_all_pins();
    expect_keys();
    snprintf(text, sizeof text, "# of the job\n\n %s # rank 0\r\n\t%s\t\n\n#%s\n%s", fingerprint[0],
             fingerprint[1], fingerprint[0], fingerprint[2]);
    set_pins(text);
    expect_keys();
    free_keys();
}

TEST(wrong_pins_are_named_with_their_line)
{
    char text[8192];

    make_keys();
    set_identity(1);
    set_pins("");
    expect(DHOLE_ERR_CONFIG, "0 fingerprints: expected one for each of 3 ranks");
    snprintf(text, sizeof text, "%s\n%s\n", fingerprint[0], fingerprint[1]);
    set_pins(text);
    expect(DHOLE_ERR_CONFIG, "2 fingerprints");
    ASSERT_CONTAINS(dhole_error_message(), "DHOLE_PINS: ");
    ASSERT_CONTAINS(dhole_error_message(), "/pins: ");
    snprintf(text, sizeof text, "%s\n%s\n%s\n# more\n%s\n", fingerprint[0], fingerprint[1],
             fingerprint[2], fingerprint[2]);
    set_pins(text);
    expect(DHOLE_ERR_CONFIG, "line 5: one fingerprint too many");
    snprintf(text, sizeof text, "%s\nsha256:12\n", fingerprint[0]);
    set_pins(text);
    expect(DHOLE_ERR_CONFIG, "line 2: \"sha256:12\"");
    snprintf(text, sizeof text, "%s %s\n", fingerprint[0], fingerprint[1]);
    set_pins(text);
    expect(DHOLE_ERR_CONFIG, "line 1: ");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    set_pins(text);
    expect(DHOLE_ERR_CONFIG, "line 1: ");
    setenv("DHOLE_PINS", write_file("pins", "a\nb\0c\n", 6, 0644), 1);
    expect(DHOLE_ERR_CONFIG, "line 1: ");
    setenv("DHOLE_PINS", write_file("pins", "# \0\n", 4, 0644), 1);
    expect(DHOLE_ERR_CONFIG, "line 1: a NUL byte");
    free_keys();
}

TEST(pins_of_no_use_are_refused)
{
    static char large[70000];
    char path[256];

    make_keys();
    set_identity(1);
    setenv("DHOLE_PINS", "/no/such/pins", 1);
    expect(DHOLE_ERR_CONFIG, "/no/such/pins: there is no such file");
    setenv("DHOLE_PINS", test_dir(), 1);
    expect(DHOLE_ERR_FORMAT, "not a regular file");
    memset(large, '\n', sizeof large);
    setenv("DHOLE_PINS", write_file("pins", large, sizeof large, 0644), 1);
    expect(DHOLE_ERR_FORMAT, "longer than");
    set_all_pins();
    snprintf(path, sizeof path, "%s/pins", test_dir());
    ASSERT(chmod(path, 0666) == 0);
    expect(DHOLE_ERR_AUTH, "written by others");
    free_keys();
}

/* Nobody would know it. */
TEST(a_key_that_is_not_there_is_not_made)
{
    char path[256];

    make_keys();
    set_all_pins();
    expect(DHOLE_ERR_CONFIG, "dhole id makes one");
    snprintf(path, sizeof path, "%s/.config", test_dir());
    ASSERT(access(path, F_OK) != 0);
    snprintf(path, sizeof path, "%s/none/key.pem", test_dir());
    setenv("DHOLE_IDENTITY", path, 1);
    expect(DHOLE_ERR_CONFIG, path);
    ASSERT_CONTAINS(dhole_error_message(), "DHOLE_IDENTITY: there is no file");
    snprintf(path, sizeof path, "%s/none", test_dir());
    ASSERT(access(path, F_OK) != 0);
    free_keys();
}

TEST(a_key_of_no_use_is_refused)
{
    make_keys();
    set_all_pins();
    setenv("DHOLE_IDENTITY", write_file("key.pem", "rubbish", 7, 0600), 1);
    expect(DHOLE_ERR_FORMAT, "DHOLE_IDENTITY: ");
    set_identity(1);
    ASSERT(chmod(getenv("DHOLE_IDENTITY"), 0644) == 0);
    expect(DHOLE_ERR_AUTH, "DHOLE_IDENTITY: ");
    free_keys();
}

TEST(a_rank_s_own_pin_is_checked)
{
    make_keys();
    set_all_pins();
    set_identity(2);
    expect(DHOLE_ERR_CONFIG, "for rank 1");
    ASSERT_CONTAINS(dhole_error_message(), fingerprint[1]);
    ASSERT_CONTAINS(dhole_error_message(), fingerprint[2]);
    free_keys();
}

TEST(this_machine_s_own_key_will_do)
{
    char path[256];
    dhole_identity *own;
    dhole_pin pin;

    make_keys();
    snprintf(path, sizeof path, "%s/config", test_dir());
    setenv("XDG_CONFIG_HOME", path, 1);
    ASSERT_OK(dhole_identity_load(NULL, &own)); /* made */
    dhole_identity_pin(own, &pin);
    dhole_fingerprint(&pin, fingerprint[1]);
    dhole_identity_free(own);
    set_all_pins();
    expect_keys();
    free_keys();
}
