/* What each environment selects; nothing is silent. */
#include "group/env.h"

#include "test.h"

static const char *const all[] = {
    "DHOLE_RANK",        "DHOLE_HOSTFILE",  "MLX_RANK",
    "MLX_HOSTFILE",      "JACCL_RANK",      "JACCL_IBV_DEVICES",
    "JACCL_COORDINATOR", "MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR",
    "MLX_WORLD_SIZE",    "NCCL_HOST_IP",
};

static void clear_environment(void)
{
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        unsetenv(all[i]);
}

static const char *write_hostfile(const char *text)
{
    static char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/hosts.json", test_dir());
    file = fopen(path, "w");
    ASSERT(file != NULL);
    fputs(text, file);
    fclose(file);
    return path;
}

TEST(an_empty_environment_names_no_cluster)
{
    struct dhole__env_ring ring;

    clear_environment();
    setenv("MLX_RANK", "", 1);
    ASSERT_OK(dhole__env_ring_read(&ring));
    ASSERT(ring.hosts == NULL);
}

TEST(both_forms_of_host_file_and_both_schemes_are_read)
{
    static const char *const texts[] = {
        "[\"10.0.0.1:1\", \"[::1]:2\", \"c:3\"]",
        "[[\"10.0.0.1:1\", \"10.1.0.1:1\"], [\"[::1]:2\"], [\"c:3\"]]",
    };
    static const char *const schemes[][2] = {{"DHOLE_RANK", "DHOLE_HOSTFILE"},
                                             {"MLX_RANK", "MLX_HOSTFILE"}};

    for (int i = 0; i < 4; i++) {
        struct dhole__env_ring ring;
        clear_environment();
        setenv(schemes[i / 2][0], "2", 1);
        setenv(schemes[i / 2][1], write_hostfile(texts[i % 2]), 1);
        ASSERT_OK(dhole__env_ring_read(&ring));
        ASSERT_EQ(ring.rank, 2);
        ASSERT_EQ(ring.size, 3);
        ASSERT_STR(ring.hosts[0], "10.0.0.1:1");
        ASSERT_STR(ring.hosts[1], "[::1]:2");
        ASSERT_STR(ring.hosts[2], "c:3");
        dhole__env_ring_free(&ring);
    }
}

/* ml-explore/mlx #3442: a rank without a host file must not become a group of one. */
TEST(mlx_3442_half_a_cluster_is_an_error)
{
    struct dhole__env_ring ring;

    clear_environment();
    setenv("MLX_RANK", "0", 1);
    ASSERT_ERR(dhole__env_ring_read(&ring), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "MLX_HOSTFILE");
    clear_environment();
    setenv("DHOLE_HOSTFILE", write_hostfile("[\"a:1\"]"), 1);
    ASSERT_ERR(dhole__env_ring_read(&ring), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "DHOLE_RANK");
    clear_environment();
    setenv("JACCL_IBV_DEVICES", "/nonexistent", 1);
    ASSERT_ERR(dhole__env_ring_read(&ring), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "JACCL_IBV_DEVICES");
}

TEST(bad_values_are_named)
{
    static const struct {
        const char *rank, *text, *expected;
    } cases[] = {
        {"x", "[\"a:1\"]", "\"x\""},
        {"-1", "[\"a:1\"]", "\"-1\""},
        {"99999999999999999999", "[\"a:1\"]", "99999999999999999999"},
        {"1", "[\"a:1\"]", "lists 1 ranks"},
        {"0", "[]", "expected a list"},
        {"0", "{\"a\": 1}", "expected a list"},
        {"0", "[[]]", "entry 0"},
        {"0", "[\"a:1\", 7]", "entry 1"},
        {"0", "[\"a:1\"", "line 1"},
        {"0", "", "line 1"},
    };

    clear_environment();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct dhole__env_ring ring;
        setenv("DHOLE_RANK", cases[i].rank, 1);
        setenv("DHOLE_HOSTFILE", write_hostfile(cases[i].text), 1);
        ASSERT_ERR(dhole__env_ring_read(&ring), DHOLE_ERR_CONFIG);
        ASSERT_CONTAINS(dhole_error_message(), cases[i].expected);
    }
}
