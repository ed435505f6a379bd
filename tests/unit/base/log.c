#include "base/log.h"

#include <unistd.h>

#include "test.h"

/* What one line of each level leaves on stderr under DHOLE_LOG=value. */
static const char *logged(const char *value)
{
    static char text[4096];
    int fds[2], saved = dup(2);
    ssize_t n;

    if (value != NULL)
        setenv("DHOLE_LOG", value, 1);
    else
        unsetenv("DHOLE_LOG");
    ASSERT(pipe(fds) == 0 && dup2(fds[1], 2) == 2);
    close(fds[1]);
    dhole__log(DHOLE__LOG_ERROR, "number %d", 1);
    dhole__log(DHOLE__LOG_WARN, "number %d", 2);
    dhole__log(DHOLE__LOG_INFO, "number %d", 3);
    dhole__log(DHOLE__LOG_DEBUG, "number %d", 4);
    dup2(saved, 2);
    close(saved);
    n = read(fds[0], text, sizeof text - 1);
    close(fds[0]);
    ASSERT(n >= 0);
    text[n] = '\0';
    return text;
}

TEST(errors_and_warnings_are_logged_by_default)
{
    const char *text = logged(NULL);

    ASSERT_CONTAINS(text, "error: number 1\n");
    ASSERT_CONTAINS(text, "warn: number 2\n");
    ASSERT(strstr(text, "number 3") == NULL && strstr(text, "number 4") == NULL);
}

TEST(debug_logs_everything)
{
    const char *text = logged("debug");

    ASSERT_CONTAINS(text, "number 1");
    ASSERT_CONTAINS(text, "info: number 3\n");
    ASSERT_CONTAINS(text, "debug: number 4\n");
}

TEST(error_logs_errors_only)
{
    const char *text = logged("error");

    ASSERT_CONTAINS(text, "number 1");
    ASSERT(strstr(text, "number 2") == NULL);
}
