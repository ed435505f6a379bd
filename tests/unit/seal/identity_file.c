/* Where a key is kept: made once, never in halves, for this user's eyes alone. */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "dhole/identity.h"
#include "seal/identity.h"
#include "test.h"

static const char *in_dir(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", test_dir(), name);
    return path;
}

static dhole_pin load(const char *where)
{
    dhole_identity *identity;
    dhole_pin pin;

    ASSERT_OK(dhole_identity_load(where, &identity));
    dhole_identity_pin(identity, &pin);
    dhole_identity_free(identity);
    return pin;
}

static bool same(dhole_pin a, dhole_pin b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    ASSERT_MSG(stat(path, &st) == 0, "%s: %s", path, strerror(errno));
    return st.st_mode & 07777;
}

static void write_file(const char *path, const char *text, size_t length, mode_t mode)
{
    FILE *file = fopen(path, "wb");

    ASSERT(file != NULL && fwrite(text, 1, length, file) == length && fclose(file) == 0);
    ASSERT(chmod(path, mode) == 0);
}

static void expect_refused(const char *where, dhole_err err, const char *why)
{
    dhole_identity *identity = NULL;

    ASSERT_ERR(dhole_identity_load(where, &identity), err);
    ASSERT(identity == NULL);
    ASSERT_CONTAINS(dhole_error_message(), why);
}

static void clear_environment(void)
{
    unsetenv("DHOLE_IDENTITY");
    unsetenv("XDG_CONFIG_HOME");
    setenv("HOME", test_dir(), 1);
}

TEST(a_key_is_made_on_first_use)
{
    const char *path = in_dir("a/b/key.pem");
    dhole_pin first = load(path);

    ASSERT(same(first, load(path)));
    ASSERT_EQ(mode_of(path), 0600);
    ASSERT_EQ(mode_of(in_dir("a/b")), 0700);
    ASSERT_EQ(mode_of(in_dir("a")), 0700);
    ASSERT(access(in_dir("a/b/key.pem.new"), F_OK) != 0);
}

/* Whatever the umask is. */
TEST(others_may_not_read_the_key)
{
    umask(0);
    load(in_dir("d/key.pem"));
    ASSERT_EQ(mode_of(in_dir("d/key.pem")), 0600);
    ASSERT_EQ(mode_of(in_dir("d")), 0700);
    chmod(in_dir("d/key.pem"), 0640);
    expect_refused(in_dir("d/key.pem"), DHOLE_ERR_AUTH, "chmod 600");
}

TEST(the_environment_says_where)
{
    dhole_pin home, config, named;

    clear_environment();
    home = load(NULL);
    ASSERT_EQ(mode_of(in_dir(".config/dhole/identity.pem")), 0600);
    ASSERT(same(home, load(in_dir(".config/dhole/identity.pem"))));

    setenv("XDG_CONFIG_HOME", "not/absolute", 1);
    ASSERT(same(home, load(NULL)));
    setenv("XDG_CONFIG_HOME", in_dir("config"), 1);
    config = load(NULL);
    ASSERT(!same(home, config));
    ASSERT(same(config, load(in_dir("config/dhole/identity.pem"))));

    setenv("DHOLE_IDENTITY", in_dir("named.pem"), 1);
    named = load(NULL);
    ASSERT(!same(config, named));
    ASSERT(same(named, load(in_dir("named.pem"))));
    setenv("DHOLE_IDENTITY", "", 1);
    ASSERT(same(config, load(NULL)));
}

TEST(without_a_home_there_is_no_default)
{
    clear_environment();
    unsetenv("HOME");
    expect_refused(NULL, DHOLE_ERR_CONFIG, "HOME");
}

TEST(what_is_no_key_is_refused_and_kept)
{
    const char *path = in_dir("key.pem");
    static const char text[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    char *large = calloc(1, 1 << 20), back[sizeof text] = "";
    FILE *file;

    ASSERT(large != NULL);
    write_file(path, large, 1 << 20, 0600);
    expect_refused(path, DHOLE_ERR_FORMAT, "longer than");
    write_file(path, "", 0, 0600);
    expect_refused(path, DHOLE_ERR_FORMAT, "key.pem");
    write_file(path, text, sizeof text - 1, 0600);
    expect_refused(path, DHOLE_ERR_FORMAT, "P-256");
    file = fopen(path, "rb");
    ASSERT(file != NULL && fread(back, 1, sizeof back, file) == sizeof text - 1);
    ASSERT_STR(back, text);
    fclose(file);
    free(large);
}

TEST(what_is_no_file_is_refused)
{
    ASSERT_EQ(mkdir(in_dir("directory"), 0700), 0);
    expect_refused(in_dir("directory"), DHOLE_ERR_FORMAT, "regular file");
    ASSERT_EQ(mkfifo(in_dir("fifo"), 0600), 0);
    expect_refused(in_dir("fifo"), DHOLE_ERR_FORMAT, "regular file");
    write_file(in_dir("file"), "", 0, 0600);
    expect_refused(in_dir("file/key.pem"), DHOLE_ERR_SYSTEM, "file");
}

TEST(a_symbolic_link_stays_one)
{
    const char *link = in_dir("link.pem");
    struct stat st;

    load(in_dir("key.pem"));
    ASSERT_EQ(symlink("key.pem", link), 0);
    ASSERT(same(load(link), load(in_dir("key.pem"))));
    ASSERT(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
}

/* Processes that all come first end with one key. */
TEST(there_is_one_first)
{
    enum { processes = 8 };
    const char *path = in_dir("x/key.pem");
    dhole_pin pins[processes];
    int ends[2], start[2];

    ASSERT(pipe(ends) == 0 && pipe(start) == 0);
    for (int i = 0; i < processes; i++)
        if (fork() == 0) {
            char byte;
            dhole_pin pin;
            close(start[1]);
            (void)!read(start[0], &byte, 1); /* its end: all are there */
            pin = load(path);
            _exit(write(ends[1], &pin, sizeof pin) != sizeof pin);
        }
    close(start[0]);
    close(start[1]);
    for (int i = 0; i < processes; i++) {
        int status;
        ASSERT(wait(&status) > 0 && status == 0);
        ASSERT_EQ(read(ends[0], &pins[i], sizeof pins[i]), sizeof pins[i]);
        ASSERT(same(pins[i], pins[0]));
    }
    ASSERT(same(load(path), pins[0]));
}

/* One of them dies while it writes: nothing of it counts, and nobody waits for it. */
TEST(a_dead_writer_leaves_no_half_key)
{
    const char *path = in_dir("key.pem");

    write_file(in_dir("key.pem.new"), "-----BEGIN PRIV", 15, 0600);
    ASSERT(same(load(path), load(path)));
    ASSERT(access(in_dir("key.pem.new"), F_OK) != 0);
}

static int writes_left;

static ssize_t full_disk(int fd, const void *data, size_t size)
{
    if (writes_left-- <= 0) {
        errno = ENOSPC;
        return -1;
    }
    return write(fd, data, size < 10 ? size : 10);
}

static int failing_fsync(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static int failing_rename(const char *from, const char *to)
{
    (void)from, (void)to;
    errno = EACCES;
    return -1;
}

static void expect_nothing_made(const char *why)
{
    expect_refused(in_dir("key.pem"), DHOLE_ERR_SYSTEM, why);
    ASSERT(access(in_dir("key.pem"), F_OK) != 0);
    ASSERT(access(in_dir("key.pem.new"), F_OK) != 0);
}

TEST(a_full_disk_leaves_no_half_key)
{
    dhole__sys.write = full_disk;
    for (int n = 0; n < 3; n++) {
        writes_left = n;
        expect_nothing_made(strerror(ENOSPC));
    }
    writes_left = 1000; /* in many small pieces */
    load(in_dir("key.pem"));
}

TEST(a_failing_disk_leaves_no_half_key)
{
    struct dhole__sys real = dhole__sys;

    dhole__sys.fsync = failing_fsync;
    expect_nothing_made(strerror(EIO));
    dhole__sys = real;
    dhole__sys.rename = failing_rename;
    expect_nothing_made(strerror(EACCES));
}

TEST(a_store_is_read)
{
    const char *path = in_dir("key.pem");
    dhole_pin pin = load(path);
    char uri[600];

    snprintf(uri, sizeof uri, "file:%s", path);
    ASSERT(same(load(uri), pin));
}

static void write_key(EVP_PKEY *key, const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);

    ASSERT(key != NULL && file != NULL);
    ASSERT(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0);
    EVP_PKEY_free(key);
}

TEST(a_store_must_have_one_p256_key)
{
    const char *path = in_dir("keys.pem");
    char uri[600];

    snprintf(uri, sizeof uri, "file:%s", path);
    expect_refused(uri, DHOLE_ERR_CONFIG, "key store");
    write_file(path, "nothing", 7, 0600);
    expect_refused(uri, DHOLE_ERR_FORMAT, "no private key");
    write_key(EVP_EC_gen("P-384"), path, "wb");
    expect_refused(uri, DHOLE_ERR_FORMAT, "P-256");
    write_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), path, "wb");
    expect_refused(uri, DHOLE_ERR_FORMAT, "P-256");
    write_key(EVP_EC_gen("P-256"), path, "wb");
    load(uri);
    write_key(EVP_EC_gen("P-256"), path, "ab");
    expect_refused(uri, DHOLE_ERR_FORMAT, "several");
}

TEST(a_store_that_cannot_be_opened_says_so)
{
    expect_refused("no-such-store:object=dhole", DHOLE_ERR_CONFIG,
                   "no provider for the key store no-such-store:object=dhole:");
}

TEST(no_pin_is_shown)
{
    expect_refused("no-such-store:object=dhole?pin-value=1234", DHOLE_ERR_CONFIG, "object=dhole:");
    ASSERT(strstr(dhole_error_message(), "1234") == NULL);
    expect_refused("no-such-store:object=dhole;pin-value=1234", DHOLE_ERR_CONFIG, "object=dhole;:");
    ASSERT(strstr(dhole_error_message(), "1234") == NULL);
}

TEST(a_colon_makes_no_store)
{
    load(in_dir("a:b/key.pem"));
    ASSERT_EQ(mode_of(in_dir("a:b/key.pem")), 0600);
}

/* What a store keeps is as good as a public key for whoever wants to read it. */
TEST(a_key_that_its_store_keeps_is_no_text)
{
    dhole_identity *whole, kept = {0};
    unsigned char *spki = NULL;
    const unsigned char *at;
    size_t length;
    char *pem;
    int n;

    ASSERT_OK(dhole_identity_generate(&whole));
    n = i2d_PUBKEY(whole->key, &spki);
    at = spki;
    kept.key = d2i_PUBKEY(NULL, &at, n);
    ASSERT_ERR(dhole_identity_to_pem(&kept, &pem, &length), DHOLE_ERR_UNSUPPORTED);
    ASSERT_CONTAINS(dhole_error_message(), "its store keeps it");
    EVP_PKEY_free(kept.key);
    OPENSSL_free(spki);
    dhole_identity_free(whole);
}
