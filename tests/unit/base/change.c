/* What a change writes to. */
#include "base/change.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    ASSERT(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void expect_text(const char *path, const char *text)
{
    char got[64] = "";
    FILE *file = fopen(path, "r");

    ASSERT(file != NULL);
    (void)!fread(got, 1, sizeof got - 1, file);
    fclose(file);
    ASSERT_STR(got, text);
}

static dhole_err change(const char *path, const char *text)
{
    struct dhole__change change;
    dhole_err err = dhole__change_begin(path, &change);

    return err ? err : dhole__change_commit(&change, 0600, text, strlen(text));
}

struct files {
    char file[256], link[256];
};

static void make_link(struct files *f)
{
    snprintf(f->file, sizeof f->file, "%s/file", test_dir());
    snprintf(f->link, sizeof f->link, "%s/link", test_dir());
    write_text(f->file, "old");
    ASSERT(symlink(f->file, f->link) == 0);
}

TEST(a_link_stays_one)
{
    struct files f;
    struct stat st;

    make_link(&f);
    ASSERT_OK(change(f.link, "new"));
    expect_text(f.file, "new");
    ASSERT(lstat(f.link, &st) == 0 && S_ISLNK(st.st_mode));
}

/* As one that waits in /tmp for somebody's file to be written. */
TEST(a_link_of_another_user_is_not_followed)
{
    struct files f;

    if (geteuid() != 0)
        test_skip("only root can make a link that is another user's");
    make_link(&f);
    ASSERT(lchown(f.link, 65534, 65534) == 0);
    ASSERT_ERR(change(f.link, "new"), DHOLE_ERR_AUTH);
    ASSERT_CONTAINS(dhole_error_message(), "link");
    expect_text(f.file, "old");
}
