/* The trust file: what people wrote stays, whom it names is what they meant, and no two writers
 * lose anything. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "cluster/trust.h"
#include "dhole/cluster.h"
#include "test.h"

/* Fingerprints that differ in their last digits. */
#define FP(end) "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddee" end

static const char *path_of(const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    return path;
}

static dhole_trusted machine(const char *name, const char *fingerprint, const char *address)
{
    dhole_trusted m = {0};

    snprintf(m.name, sizeof m.name, "%s", name);
    snprintf(m.address, sizeof m.address, "%s", address);
    ASSERT_OK(dhole_fingerprint_parse(fingerprint, &m.pin));
    return m;
}

static dhole_err add(const char *name, const char *fingerprint, const char *address)
{
    dhole_trusted m = machine(name, fingerprint, address);

    return dhole_trust_add(path_of("trusted"), &m);
}

static void put(const char *text, size_t length)
{
    FILE *file = fopen(path_of("trusted"), "wb");

    ASSERT(file != NULL && fwrite(text, 1, length, file) == length && fclose(file) == 0);
    ASSERT(chmod(path_of("trusted"), 0644) == 0);
}

static void expect_file(const char *want)
{
    char text[4096] = "";
    FILE *file = fopen(path_of("trusted"), "rb");

    ASSERT(file != NULL);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    ASSERT_STR(text, want);
}

static dhole_trust *parse(const char *text)
{
    dhole_trust *trust;

    ASSERT_OK(dhole__trust_parse(text, strlen(text), "trusted", &trust));
    return trust;
}

static void expect_bad_of(const char *text, size_t length, const char *why)
{
    dhole_trust *trust;

    ASSERT_ERR(dhole__trust_parse(text, length, "trusted", &trust), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), why);
}

static void expect_bad(const char *text, const char *why)
{
    expect_bad_of(text, strlen(text), why);
}

TEST(no_file_is_an_empty_list)
{
    dhole_trust *trust;

    ASSERT_OK(dhole_trust_load(path_of("none/trusted"), &trust));
    ASSERT_EQ(dhole_trust_count(trust), 0);
    ASSERT(dhole_trust_at(trust, 0) == NULL);
    ASSERT(dhole_trust_by_name(trust, "lab") == NULL);
    dhole_trust_free(trust);
    ASSERT(access(path_of("none"), F_OK) != 0);
}

TEST(what_it_says_is_found)
{
    dhole_trust *trust =
        parse("# ours\n"
              "lab1 " FP("01") " 10.0.0.7:7777 # under the desk\n"
                               "\n"
                               "  \tlab2\t" FP("02") "#no address\r\n"
                                                     "lab-3.x_y " FP("03") " [fe80::1]:80");
    dhole_trusted want = machine("lab2", FP("02"), "");

    ASSERT_EQ(dhole_trust_count(trust), 3);
    ASSERT_STR(dhole_trust_at(trust, 0)->name, "lab1");
    ASSERT_STR(dhole_trust_at(trust, 0)->address, "10.0.0.7:7777");
    ASSERT_STR(dhole_trust_by_pin(trust, &want.pin)->name, "lab2");
    ASSERT_STR(dhole_trust_by_name(trust, "lab2")->address, "");
    ASSERT_STR(dhole_trust_by_name(trust, "lab-3.x_y")->address, "[fe80::1]:80");
    ASSERT(dhole_trust_by_name(trust, "lab") == NULL);
    want.pin.bytes[0] ^= 1;
    ASSERT(dhole_trust_by_pin(trust, &want.pin) == NULL);
    dhole_trust_free(trust);
}

TEST(comments_and_order_stay)
{
    static const char before[] = "# the lab\n"
                                 "b " FP("02") " \t# second\n"
                                               "\n"
                                               "a " FP("01") " 10.0.0.1:1   # first\n"
                                                             "# end, without a line's end";

    put(before, sizeof before - 1);
    ASSERT_OK(add("c", FP("03"), ""));
    expect_file("# the lab\nb " FP("02") " \t# second\n\na " FP(
        "01") " 10.0.0.1:1   # first\n"
              "# end, without a line's end\nc " FP("03") "\n");
    ASSERT_OK(add("a", FP("01"), "h:2"));
    ASSERT_OK(add("b", FP("02"), "[::1]:3"));
    expect_file("# the lab\nb " FP("02") " [::1]:3 \t# second\n\na " FP(
        "01") " h:2   # first\n"
              "# end, without a line's end\nc " FP("03") "\n");
    ASSERT_OK(add("a", FP("01"), ""));
    ASSERT_OK(dhole_trust_remove(path_of("trusted"), "b"));
    ASSERT_OK(dhole_trust_remove(path_of("trusted"), "c"));
    expect_file("# the lab\n\na " FP("01") " h:2   # first\n# end, without a line's end\n");
}

/* A line that would be refused afterwards is not written. */
TEST(a_long_comment_leaves_no_place_for_an_address)
{
    static const char head[] = "a " FP("01") " #";
    char text[dhole__trust_line_max + 2];

    memset(text, 'x', sizeof text);
    memcpy(text, head, sizeof head - 1);
    text[dhole__trust_line_max] = '\n';
    text[dhole__trust_line_max + 1] = '\0';
    put(text, strlen(text));
    ASSERT_ERR(add("a", FP("01"), "h:1"), DHOLE_ERR_LIMIT);
    expect_file(text);
}

TEST(a_file_is_made_for_this_user_alone)
{
    struct stat st;

    umask(0);
    ASSERT_OK(add("a", FP("01"), ""));
    expect_file("a " FP("01") "\n");
    ASSERT(stat(path_of("trusted"), &st) == 0);
    ASSERT_EQ(st.st_mode & 07777, 0600);
    ASSERT(chmod(path_of("trusted"), 0644) == 0); /* as a person wants it */
    ASSERT_OK(add("b", FP("02"), ""));
    ASSERT(stat(path_of("trusted"), &st) == 0);
    ASSERT_EQ(st.st_mode & 07777, 0644);
}

TEST(a_changed_key_is_an_alarm)
{
    ASSERT_OK(add("lab", FP("01"), "h:1"));
    ASSERT_ERR(add("lab", FP("02"), "h:1"), DHOLE_ERR_AUTH);
    ASSERT_CONTAINS(dhole_error_message(), "ANOTHER");
    ASSERT_CONTAINS(dhole_error_message(), "dhole trust remove lab");
    expect_file("lab " FP("01") " h:1\n");
    ASSERT_OK(dhole_trust_remove(path_of("trusted"), "lab"));
    ASSERT_OK(add("lab", FP("02"), "h:1"));
    expect_file("lab " FP("02") " h:1\n");
}

/* Also where the new key is another machine's. */
TEST(a_key_has_one_name)
{
    ASSERT_OK(add("one", FP("01"), ""));
    ASSERT_OK(add("two", FP("02"), ""));
    ASSERT_ERR(add("three", FP("01"), ""), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "dhole trust remove one");
    ASSERT_ERR(add("one", FP("02"), ""), DHOLE_ERR_AUTH);
    expect_file("one " FP("01") "\ntwo " FP("02") "\n");
}

TEST(who_is_not_there_cannot_be_removed)
{
    ASSERT_OK(add("one", FP("01"), ""));
    ASSERT_ERR(dhole_trust_remove(path_of("trusted"), "two"), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "two");
    ASSERT(access(path_of("trusted.new"), F_OK) != 0);
}

TEST(bad_names_and_addresses_are_refused)
{
    static const char *const names[] = {"", ".", "..", "a b", "a#", "a/b", "\xc3\xa4", "a\n"};
    static const char *const addresses[] = {"h",     "h:", "h:x",   "h:65536", "h:1,h:2",
                                            "a b:1", ":1", "::1:1", "h:1#",    "h:1\n"};
    char longest[DHOLE_NAME_SIZE + 1];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ASSERT_ERR(add(names[i], FP("01"), ""), DHOLE_ERR_INVALID);
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
        ASSERT_ERR(add("a", FP("01"), addresses[i]), DHOLE_ERR_INVALID);
    ASSERT_ERR(dhole__check_name("\x1b[2J"), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "\"?[2J\"");
    memset(longest, 'a', sizeof longest);
    longest[DHOLE_NAME_SIZE] = '\0';
    ASSERT_ERR(dhole__check_name(longest), DHOLE_ERR_INVALID);
    longest[DHOLE_NAME_SIZE - 1] = '\0';
    ASSERT_OK(dhole__check_name(longest));
    ASSERT(access(path_of("trusted"), F_OK) != 0);
}

TEST(errors_give_the_line)
{
    expect_bad("# fine\n\na " FP("01") "\nb sha256:00\n", "trusted, line 4: \"sha256:00\"");
    expect_bad("a\n", "line 1: 1 words");
    expect_bad("a " FP("01") " h:1 more\n", "line 1: 4 words");
    expect_bad("\na " FP("0g") "\n", "line 2");
    expect_bad("a/b " FP("01") "\n", "line 1: \"a/b\" is no name");
    expect_bad("a " FP("01") " h\n", "line 1: \"h\" is no address");
    expect_bad("a " FP("01") "\n\na " FP("02") "\n", "line 3: the name a is that of line 1");
    expect_bad("a " FP("01") "\nb " FP("01") "\n", "line 2: the key is that of line 1, a");
}

TEST(what_is_no_text_gives_the_line)
{
    static const char zero[] = "a " FP("01") "\nb\0" FP("02") "\n";
    char *text = malloc(2 << 20);

    ASSERT(text != NULL);
    expect_bad_of(zero, sizeof zero - 1, "line 2: a zero byte");
    expect_bad("\x1b[2J " FP("01") "\n", "line 1: a character that is not printable");
    ASSERT(strchr(dhole_error_message(), '\x1b') == NULL);
    expect_bad("a \xff\xfe\n", "line 1: a character that is not printable");
    memset(text, 'a', 2 << 20);
    expect_bad_of(text, 5000, "line 1: more than 1000 bytes");
    expect_bad_of(text, 2 << 20, "longer than");
    memset(text, '\n', 1 << 20);
    text[(1 << 20) - 1] = 'x';
    expect_bad_of(text, 1 << 20, "line 1048576");
    free(text);
}

static size_t many(char *text, int count)
{
    size_t length = 0;

    for (int i = 0; i < count; i++)
        length += (size_t)sprintf(text + length, "m%d sha256:%064x\n", i, (unsigned)i);
    return length;
}

TEST(there_is_a_most)
{
    char *text = malloc(200000);
    struct dhole__buf buf;
    dhole_trusted one_more = machine("another", FP("01"), "");

    ASSERT(text != NULL);
    expect_bad_of(text, many(text, dhole__trust_machines_max + 1), "line 1025: more than 1024");
    dhole__buf_init(&buf, dhole__trust_file_max);
    ASSERT_OK(dhole__buf_add(&buf, text, many(text, dhole__trust_machines_max)));
    ASSERT_ERR(dhole__trust_text_add(&buf, "trusted", &one_more), DHOLE_ERR_LIMIT);
    dhole__buf_free(&buf);
    free(text);
}

TEST(a_file_that_others_may_write_is_refused)
{
    dhole_trust *trust;

    ASSERT_OK(add("a", FP("01"), ""));
    for (int mode = 0620; mode >= 0602; mode -= 016) {
        ASSERT(chmod(path_of("trusted"), (mode_t)mode) == 0);
        ASSERT_ERR(dhole_trust_load(path_of("trusted"), &trust), DHOLE_ERR_AUTH);
        ASSERT_CONTAINS(dhole_error_message(), "chmod go-w");
        ASSERT_ERR(add("b", FP("02"), ""), DHOLE_ERR_AUTH);
    }
    expect_file("a " FP("01") "\n");
}

/* A file that cannot be read right is not changed. */
TEST(a_bad_file_is_left_alone)
{
    put("a b c d\n", 8);
    ASSERT_ERR(add("b", FP("02"), ""), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), "line 1");
    ASSERT_ERR(dhole_trust_remove(path_of("trusted"), "a"), DHOLE_ERR_FORMAT);
    expect_file("a b c d\n");
}

static void add_number(int i)
{
    char name[16], fingerprint[DHOLE_FINGERPRINT_SIZE];

    snprintf(name, sizeof name, "m%d", i);
    snprintf(fingerprint, sizeof fingerprint, "sha256:%064x", (unsigned)i);
    ASSERT_OK(add(name, fingerprint, ""));
}

TEST(writers_side_by_side_lose_nothing)
{
    enum { writers = 20 };
    dhole_trust *trust;

    for (int i = 0; i < writers; i++)
        if (fork() == 0) {
            add_number(i);
            _exit(0);
        }
    for (int i = 0; i < writers; i++) {
        int status;
        ASSERT(wait(&status) > 0 && status == 0);
    }
    ASSERT_OK(dhole_trust_load(path_of("trusted"), &trust));
    ASSERT_EQ(dhole_trust_count(trust), writers);
    dhole_trust_free(trust);
    ASSERT(access(path_of("trusted.new"), F_OK) != 0);
}

static ssize_t full_disk(int fd, const void *data, size_t size)
{
    (void)fd, (void)data, (void)size;
    errno = ENOSPC;
    return -1;
}

TEST(a_full_disk_changes_nothing)
{
    ASSERT_OK(add("a", FP("01"), ""));
    dhole__sys.write = full_disk;
    ASSERT_ERR(add("b", FP("02"), ""), DHOLE_ERR_SYSTEM);
    ASSERT_CONTAINS(dhole_error_message(), strerror(ENOSPC));
    expect_file("a " FP("01") "\n");
    ASSERT(access(path_of("trusted.new"), F_OK) != 0);
}

TEST(the_file_is_beside_the_identity)
{
    dhole_trusted m = machine("a", FP("01"), "");
    char path[600];

    unsetenv("DHOLE_TRUST");
    unsetenv("DHOLE_IDENTITY");
    setenv("XDG_CONFIG_HOME", path_of("config"), 1);
    ASSERT_OK(dhole_trust_add(NULL, &m));
    ASSERT(access(path_of("config/dhole/trusted"), F_OK) == 0);
    setenv("DHOLE_IDENTITY", path_of("id/key.pem"), 1);
    ASSERT_OK(dhole_trust_add(NULL, &m));
    ASSERT(access(path_of("id/trusted"), F_OK) == 0);
    snprintf(path, sizeof path, "%s", path_of("elsewhere"));
    setenv("DHOLE_TRUST", path, 1);
    ASSERT_OK(dhole_trust_add(NULL, &m));
    ASSERT(access(path, F_OK) == 0);
    ASSERT_OK(dhole_trust_remove(NULL, "a"));
}
