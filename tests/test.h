/* The test runner: each TEST runs in a process of its own with a time limit, and
 * a failed ASSERT ends that process. `NAME [PATTERN]` runs those whose name
 * contains PATTERN, but not those with one of the texts in DHOLE_TEST_EXCEPT, which stand
 * between commas; `--list` prints the names. The last line is "N passed, N failed,
 * N skipped". */
#ifndef DHOLE_TEST_H
#define DHOLE_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
    const char *name;
    void (*run)(void);
    int seconds;
    struct test *next;
};

void test_register(struct test *t);
_Noreturn void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Ends this test as skipped; the reason is printed and counted. */
_Noreturn void test_skip(const char *why);
/* Of the test that runs. */
const char *test_name(void);
/* A fresh directory that is removed when the test ends. */
const char *test_dir(void);
/* Threads of this process, and maybe some that have just been joined: the system lists those for a
 * moment longer. Skips the test where it lists none. */
int test_threads(void);
/* Fails unless they are at most `most` within two seconds. */
void test_await_threads(int most);
/* Open descriptors of this process, more by some constant: to be compared with each other. Skips
 * the test where the system lists none. */
int test_descriptors(void);
/* A deterministic 64-bit generator (splitmix64), for reproducible data. */
unsigned long long test_random(unsigned long long *state);

#define TEST_LIMIT(name, seconds)                                  \
    static void name(void);                                        \
    __attribute__((constructor)) static void register_##name(void) \
    {                                                              \
        static struct test t = {#name, name, seconds, NULL};       \
        test_register(&t);                                         \
    }                                                              \
    static void name(void)

/* A test with the usual limit of 60 seconds. */
#define TEST(name) TEST_LIMIT(name, 60)

#define ASSERT(condition)                                    \
    do {                                                     \
        if (!(condition))                                    \
            test_fail(__FILE__, __LINE__, "%s", #condition); \
    } while (0)

#define ASSERT_MSG(condition, ...)                      \
    do {                                                \
        if (!(condition))                               \
            test_fail(__FILE__, __LINE__, __VA_ARGS__); \
    } while (0)

#define ASSERT_EQ(a, b)                                                             \
    do {                                                                            \
        long long a_ = (long long)(a), b_ = (long long)(b);                         \
        if (a_ != b_)                                                               \
            test_fail(__FILE__, __LINE__, "%s is %lld, expected %lld", #a, a_, b_); \
    } while (0)

#define ASSERT_STR(a, b)                                                                \
    do {                                                                                \
        const char *a_ = (a), *b_ = (b);                                                \
        if (strcmp(a_, b_) != 0)                                                        \
            test_fail(__FILE__, __LINE__, "%s is \"%s\", expected \"%s\"", #a, a_, b_); \
    } while (0)

#define ASSERT_CONTAINS(text, part)                                                  \
    do {                                                                             \
        const char *a_ = (text), *b_ = (part);                                       \
        if (strstr(a_, b_) == NULL)                                                  \
            test_fail(__FILE__, __LINE__, "\"%s\" does not contain \"%s\"", a_, b_); \
    } while (0)

/* For dhole calls: prints the error's message. Needs dhole/error.h. */
#define ASSERT_OK(call)                                                                         \
    do {                                                                                        \
        int e_ = (int)(call);                                                                   \
        if (e_ != 0)                                                                            \
            test_fail(__FILE__, __LINE__, "%s: %s: %s", #call, dhole_error_name((dhole_err)e_), \
                      dhole_error_message());                                                   \
    } while (0)

#define ASSERT_ERR(call, expected)                                                        \
    do {                                                                                  \
        int e_ = (int)(call);                                                             \
        if (e_ != (int)(expected))                                                        \
            test_fail(__FILE__, __LINE__, "%s gave %s (%s), expected %s", #call,          \
                      dhole_error_name((dhole_err)e_), dhole_error_message(), #expected); \
    } while (0)

#endif
