#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/json.h"
#include "base/os.h"
#include "test.h"

TEST(no_entry_of_the_table_is_empty)
{
    void *const *entries = (void *const *)&dhole__sys;

    for (size_t i = 0; i < sizeof dhole__sys / sizeof entries[0]; i++)
        ASSERT_MSG(entries[i] != NULL, "entry %zu of the system-call table is NULL", i);
}

static int open_without_descriptors(const char *path, int flags, mode_t mode)
{
    (void)path, (void)flags, (void)mode;
    errno = EMFILE;
    return -1;
}

TEST(a_failing_call_is_reported_by_its_user)
{
    json_t *root = NULL;

    dhole__sys.open = open_without_descriptors;
    ASSERT_ERR(dhole__json_load("hosts.json", &root), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), strerror(EMFILE));
}

TEST(open_goes_to_the_system)
{
    char path[256];
    int fd;

    snprintf(path, sizeof path, "%s/new", test_dir());
    fd = dhole__sys.open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ASSERT(fd >= 0);
    close(fd);
    ASSERT_EQ(access(path, F_OK), 0);
}

TEST(the_machine_has_a_processor)
{
    ASSERT(dhole__cpu_count() >= 1);
}

TEST(the_program_knows_its_path)
{
    char path[4096];

    ASSERT_EQ(dhole__self_path(path, sizeof path), 0);
    ASSERT_EQ(access(path, X_OK), 0);
}
