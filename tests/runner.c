#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

enum { exit_skipped = 77, slow_factor = 4 };

static struct test *first, **last = &first;
static const char *running;
static char directory[64];

void test_register(struct test *t)
{
    *last = t;
    last = &t->next;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    _exit(1);
}

void test_skip(const char *why)
{
    printf("skipped: %s\n", why);
    fflush(stdout);
    _exit(exit_skipped);
}

const char *test_name(void)
{
    return running;
}

const char *test_dir(void)
{
    return directory;
}

unsigned long long test_random(unsigned long long *state)
{
    unsigned long long z = (*state += 0x9e3779b97f4a7c15ull);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

int test_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    int n = 0;

    if (dir == NULL)
        test_skip("this system does not list a process's threads in /proc");
    while ((entry = readdir(dir)) != NULL)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

void test_await_threads(int most)
{
    struct timespec tick = {0, 2000000};

    for (int i = 0; test_threads() > most; i++) {
        if (i == 1000)
            test_fail(__FILE__, __LINE__, "%d threads, expected %d", test_threads(), most);
        nanosleep(&tick, NULL);
    }
}

int test_descriptors(void)
{
    DIR *dir = opendir("/dev/fd");
    int n = 0;

    if (dir == NULL)
        test_skip("this system does not list a process's descriptors in /dev/fd");
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* The limit is enforced by the parent on the test's whole process group, so that
 * helper ranks go with it. Returns the wait status, or -1 on time-out. */
static int wait_limited(pid_t pid, int seconds)
{
    struct timespec tick = {0, 2000000};
    time_t end = time(NULL) + seconds;
    int status;

    for (;;) {
        pid_t done = waitpid(pid, &status, WNOHANG);
        if (done == pid)
            break;
        if (time(NULL) > end) {
            kill(-pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        nanosleep(&tick, NULL);
    }
    kill(-pid, SIGKILL);
    return status;
}

static int run_one(const struct test *t)
{
    int seconds = t->seconds * (getenv("DHOLE_TEST_SLOW") ? slow_factor : 1);
    int status;
    pid_t pid;

    snprintf(directory, sizeof directory, "/tmp/dhole-test-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        perror("mkdtemp");
        return 1;
    }
    running = t->name;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        t->run();
        exit(0); /* not _exit: leak checkers report here */
    }
    setpgid(pid, pid);
    status = wait_limited(pid, seconds);
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (status == -1)
        fprintf(stderr, "%s: no end within %d s\n", t->name, seconds);
    else if (WIFSIGNALED(status))
        fprintf(stderr, "%s: killed by signal %d\n", t->name, WTERMSIG(status));
    return status != -1 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Whether DHOLE_TEST_EXCEPT, texts between commas, has one that is in the name. */
static int is_left_out(const char *name)
{
    const char *text = getenv("DHOLE_TEST_EXCEPT");

    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");
        if (length > 0 && memmem(name, strlen(name), text, length) != NULL)
            return 1;
        text += length + (text[length] == ',');
    }
    return 0;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0, skipped = 0;

    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        for (const struct test *t = first; t != NULL; t = t->next)
            puts(t->name);
        return 0;
    }
    for (const struct test *t = first; t != NULL; t = t->next) {
        int code;
        if ((argc > 1 && strstr(t->name, argv[1]) == NULL) || is_left_out(t->name))
            continue;
        code = run_one(t);
        passed += code == 0;
        skipped += code == exit_skipped;
        failed += code != 0 && code != exit_skipped;
        printf("%s %s\n",
               code == 0              ? "ok     "
               : code == exit_skipped ? "skipped"
                                      : "FAILED ",
               t->name);
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
