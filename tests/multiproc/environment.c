/* Groups that are named by the environment: DHOLE_* and, to the letter, MLX_*. */
#include <fcntl.h>
#include <unistd.h>

#include "processes.h"

enum { ranks = 3 };

extern char **environ;

static void clear_environment(void)
{
    static char *nothing[] = {NULL};

    environ = nothing;
    setenv("TMPDIR", test_dir(), 1);
}

static char hostfile[256];

/* One address a rank, each printed with `format`, such as "[\"%s\"]". */
static void write_hostfile(const char *format)
{
    FILE *f;

    snprintf(hostfile, sizeof hostfile, "%s/hosts.json", test_dir());
    f = fopen(hostfile, "w");
    ASSERT(f != NULL);
    fputc('[', f);
    for (int rank = 0; rank < ranks; rank++) {
        char address[32];
        snprintf(address, sizeof address, "127.0.0.1:%d", free_port("127.0.0.1"));
        fputs(rank ? ", " : "", f);
        fprintf(f, format, address);
    }
    fputs("]\n", f);
    ASSERT(fclose(f) == 0);
}

static const char *rank_variable, *hostfile_variable;
static const dhole_options *given_options;

/* Sets the rest of a rank's environment, or NULL; and judges the group that it gave, or NULL. */
static void (*set_more)(struct processes *all, int rank);
static void (*judge)(struct processes *all, dhole_group *group);

static void join_by_environment(struct processes *all, int rank)
{
    char text[16];
    dhole_group *group;
    float one = 1, sum;

    clear_environment();
    snprintf(text, sizeof text, "%d", rank);
    setenv(rank_variable, text, 1);
    setenv(hostfile_variable, hostfile, 1);
    if (set_more != NULL)
        set_more(all, rank);
    ASSERT_OK(dhole_init(given_options, &group));
    ASSERT_EQ(dhole_rank(group), rank);
    ASSERT_EQ(dhole_size(group), ranks);
    ASSERT_OK(dhole_all_sum(group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == ranks);
    if (judge != NULL)
        judge(all, group);
    report_end(all, rank, DHOLE_OK);
    dhole_group_free(group);
}

static void run_by_environment(const char *rank, const char *hosts, const dhole_options *options)
{
    struct processes all;

    rank_variable = rank;
    hostfile_variable = hosts;
    given_options = options;
    processes_start(&all, &backend_mem, ranks, join_by_environment);
    for (int i = 0; i < ranks; i++)
        process_reap(&all, i, 0);
    processes_close(&all);
}

TEST(dhole_variables_name_a_group)
{
    write_hostfile("\"%s\"");
    run_by_environment("DHOLE_RANK", "DHOLE_HOSTFILE", NULL);
}

TEST(mlx_variables_name_a_group)
{
    write_hostfile("[\"%s\"]");
    run_by_environment("MLX_RANK", "MLX_HOSTFILE", NULL);
}

TEST(mlx_hostfiles_may_be_flat)
{
    write_hostfile("\"%s\"");
    run_by_environment("MLX_RANK", "MLX_HOSTFILE", NULL);
}

/* Two ports of each rank. */
TEST(a_rank_may_have_several_addresses)
{
    FILE *f;

    snprintf(hostfile, sizeof hostfile, "%s/hosts.json", test_dir());
    f = fopen(hostfile, "w");
    ASSERT(f != NULL);
    for (int rank = 0; rank < ranks; rank++)
        fprintf(f, "%s[\"127.0.0.1:%d\", \"127.0.0.2:%d\"]", rank ? ", " : "[",
                free_port("127.0.0.1"), free_port("127.0.0.2"));
    fputs("]\n", f);
    ASSERT(fclose(f) == 0);
    run_by_environment("MLX_RANK", "MLX_HOSTFILE", NULL);
}

TEST(the_ring_backend_reads_the_environment)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    options.backend = "ring";
    write_hostfile("[\"%s\"]");
    run_by_environment("MLX_RANK", "MLX_HOSTFILE", &options);
}

TEST(dhole_variables_come_before_mlx_s)
{
    write_hostfile("\"%s\"");
    clear_environment();
    setenv("MLX_RANK", "7", 1);
    setenv("MLX_HOSTFILE", "/no/such/file", 1);
    setenv("DHOLE_RANK", "9", 1);
    setenv("DHOLE_HOSTFILE", hostfile, 1);
    dhole_group *group = NULL;
    ASSERT_ERR(dhole_init(NULL, &group), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "DHOLE_RANK is 9");
}

TEST(a_group_of_one_when_nothing_names_a_cluster)
{
    dhole_group *group;

    clear_environment();
    ASSERT_OK(dhole_init(NULL, &group));
    ASSERT_EQ(dhole_size(group), 1);
    ASSERT_EQ(dhole_rank(group), 0);
    dhole_group_free(group);
}

static void expect_config_error(const dhole_options *options, const char *part)
{
    dhole_group *group = NULL;

    ASSERT_ERR(dhole_init(options, &group), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), part);
    ASSERT(group == NULL);
}

/* In MLX a ring of one (mlx #3442). */
TEST(mlx_3442_a_rank_without_hostfile_is_an_error)
{
    dhole_options ring = DHOLE_OPTIONS_INIT;

    clear_environment();
    setenv("MLX_RANK", "0", 1);
    expect_config_error(NULL, "MLX_HOSTFILE is not");
    ring.backend = "ring";
    expect_config_error(&ring, "MLX_HOSTFILE is not");
    unsetenv("MLX_RANK");
    setenv("DHOLE_RANK", "1", 1);
    expect_config_error(NULL, "neither DHOLE_HOSTFILE nor DHOLE_COORDINATOR is");
}

TEST(a_hostfile_without_rank_is_an_error)
{
    clear_environment();
    setenv("DHOLE_HOSTFILE", "/tmp/hosts.json", 1);
    expect_config_error(NULL, "DHOLE_RANK is not");
}

/* Names a file of this text in the environment. */
static void set_file(const char *variable, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    f = fopen(path, "w");
    ASSERT(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
    setenv(variable, path, 1);
}

static void write_devices(const char *text)
{
    set_file("MLX_IBV_DEVICES", "devices.json", text);
}

/* mlx #3442: jaccl is set up in full, and must not become a group of one where there is no RDMA. */
TEST(mlx_3442_a_cluster_of_another_backend_is_not_ignored)
{
    dhole_group *group = NULL;

    clear_environment();
    setenv("DHOLE_VERBS_LIBRARY", "/no/such/libibverbs.so", 1);
    setenv("MLX_RANK", "0", 1);
    write_devices("[[null, \"a\"], [\"a\", null]]");
    expect_config_error(NULL, "MLX_JACCL_COORDINATOR");
    setenv("MLX_JACCL_COORDINATOR", "10.0.0.1:5000", 1);
    ASSERT_ERR(dhole_init(NULL, &group), DHOLE_ERR_UNSUPPORTED);
    ASSERT_CONTAINS(dhole_error_message(), "RDMA");
    ASSERT(group == NULL);
    ASSERT(!dhole_is_available("jaccl"));
    setenv("MLX_IBV_DEVICES", "/no/such/file.json", 1);
    expect_config_error(NULL, "MLX_IBV_DEVICES: cannot open /no/such/file.json");
    write_devices("[[null, \"a\"], [\"a\"");
    expect_config_error(NULL, "devices.json");
    write_devices("[[null, \"a\"], [null, null]]");
    expect_config_error(NULL, "devices.json: row 1, column 0: no device leads from rank 1");
}

TEST(a_matrix_with_one_row_is_a_group_of_one)
{
    dhole_group *group;

    clear_environment();
    setenv("DHOLE_VERBS_LIBRARY", "/no/such/libibverbs.so", 1);
    setenv("JACCL_RANK", "0", 1);
    setenv("JACCL_COORDINATOR", "10.0.0.1:5000", 1);
    write_devices("[[null]]");
    ASSERT_OK(dhole_init(NULL, &group));
    ASSERT_EQ(dhole_size(group), 1);
    dhole_group_free(group);
}

TEST(jaccl_needs_its_own_variables)
{
    dhole_options jaccl = DHOLE_OPTIONS_INIT;

    clear_environment();
    write_hostfile("\"%s\"");
    setenv("DHOLE_RANK", "0", 1);
    setenv("DHOLE_HOSTFILE", hostfile, 1);
    jaccl.backend = "jaccl";
    expect_config_error(&jaccl, "set JACCL_RANK, JACCL_IBV_DEVICES and JACCL_COORDINATOR");
}

TEST(devices_are_for_jaccl_and_jaccl_needs_them)
{
    static const char *const hosts[] = {"127.0.0.1:1", "127.0.0.1:2"};
    static const char *const devices[] = {NULL, "a"}, *const none[] = {NULL, NULL};
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_group *group = NULL;

    clear_environment();
    options.size = 2;
    options.hosts = hosts;
    options.backend = "jaccl";
    ASSERT_ERR(dhole_init(&options, &group), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "needs this rank's row of the device matrix");
    options.devices = none;
    ASSERT_ERR(dhole_init(&options, &group), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "row 0, column 1: no device");
    options.devices = devices;
    options.backend = "ring";
    ASSERT_ERR(dhole_init(&options, &group), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "devices are for backend jaccl, this is tcp");
}

TEST(backends_of_mlx_that_are_not_built_are_named)
{
    static const char *const names[] = {"nccl", "mpi"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        dhole_options options = DHOLE_OPTIONS_INIT;
        dhole_group *group = NULL;
        options.backend = names[i];
        ASSERT_ERR(dhole_init(&options, &group), DHOLE_ERR_UNSUPPORTED);
        ASSERT_CONTAINS(dhole_error_message(), names[i]);
        ASSERT(!dhole_is_available(names[i]));
    }
}

TEST(a_ring_without_any_variable_is_an_error)
{
    dhole_options ring = DHOLE_OPTIONS_INIT;

    clear_environment();
    ring.backend = "ring";
    expect_config_error(&ring, "DHOLE_HOSTFILE");
}

TEST(a_rank_that_is_no_number_is_named)
{
    static const char *const wrong[] = {"x", "1x", "-1", "99999999999999999999", "1.5", " "};

    write_hostfile("\"%s\"");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        clear_environment();
        setenv("DHOLE_HOSTFILE", hostfile, 1);
        setenv("DHOLE_RANK", wrong[i], 1);
        expect_config_error(NULL, "DHOLE_RANK");
    }
}

TEST(a_rank_beyond_the_hostfile_is_named)
{
    write_hostfile("\"%s\"");
    clear_environment();
    setenv("DHOLE_HOSTFILE", hostfile, 1);
    setenv("DHOLE_RANK", "3", 1);
    expect_config_error(NULL, "DHOLE_RANK is 3");
    ASSERT_CONTAINS(dhole_error_message(), "3 ranks");
}

static void expect_hostfile_error(const char *text, const char *part)
{
    clear_environment();
    setenv("DHOLE_RANK", "0", 1);
    set_file("DHOLE_HOSTFILE", "wrong.json", text);
    expect_config_error(NULL, part);
    ASSERT_CONTAINS(dhole_error_message(), "DHOLE_HOSTFILE");
}

TEST(a_wrong_hostfile_is_named)
{
    expect_hostfile_error("", "line");
    expect_hostfile_error("[\"127.0.0.1:1\",", "line");
    expect_hostfile_error("{}", "wrong.json");
    expect_hostfile_error("[]", "wrong.json");
    expect_hostfile_error("[1, 2]", "entry 0");
    expect_hostfile_error("[[\"127.0.0.1:1\"], []]", "entry 1");
    expect_hostfile_error("[[[\"127.0.0.1:1\"]]]", "entry 0");
    clear_environment();
    setenv("DHOLE_RANK", "0", 1);
    setenv("DHOLE_HOSTFILE", "/no/such/file.json", 1);
    expect_config_error(NULL, "/no/such/file.json");
}

static char coordinator[256];

static void join_at_coordinator(struct processes *all, int rank)
{
    char text[16];

    clear_environment();
    snprintf(text, sizeof text, "%d", rank);
    setenv("DHOLE_RANK", text, 1);
    snprintf(text, sizeof text, "%d", ranks);
    setenv("DHOLE_SIZE", text, 1);
    setenv("DHOLE_COORDINATOR", coordinator, 1);
    for (int i = 0; i < 3; i++) { /* one group after the other at one place */
        dhole_group *group;
        float one = 1, sum;
        ASSERT_OK(dhole_init(NULL, &group));
        ASSERT_EQ(dhole_rank(group), rank);
        ASSERT_OK(dhole_all_sum(group, &one, &sum, 1, DHOLE_F32));
        ASSERT(sum == ranks);
        dhole_group_free(group);
    }
    report_end(all, rank, DHOLE_OK);
}

static void run_at_coordinator(void)
{
    struct processes all;

    processes_start(&all, &backend_mem, ranks, join_at_coordinator);
    for (int i = 0; i < ranks; i++)
        process_reap(&all, i, 0);
    processes_close(&all);
}

TEST(a_coordinator_s_address_is_enough)
{
    snprintf(coordinator, sizeof coordinator, "localhost:%d", free_port("127.0.0.1"));
    run_at_coordinator();
}

TEST(a_coordinator_s_path_is_enough)
{
    snprintf(coordinator, sizeof coordinator, "%s/meet", test_dir());
    run_at_coordinator();
}

TEST(a_coordinator_on_a_network_must_be_asked_for)
{
    clear_environment();
    setenv("DHOLE_RANK", "0", 1);
    setenv("DHOLE_SIZE", "2", 1);
    setenv("DHOLE_COORDINATOR", "192.0.2.1:5000", 1);
    expect_config_error(NULL, "DHOLE_SEAL=off");
    setenv("DHOLE_SEAL", "off", 1);
    setenv("DHOLE_COORDINATOR", "0.0.0.0:5000", 1);
    expect_config_error(NULL, "0.0.0.0:5000: expected a host of rank 0");
    setenv("DHOLE_COORDINATOR", "127.0.0.1:0", 1);
    expect_config_error(NULL, "and a port");
}

TEST(a_group_of_one_listens_nowhere)
{
    dhole_group *group;

    clear_environment();
    setenv("DHOLE_RANK", "0", 1);
    setenv("DHOLE_SIZE", "1", 1);
    setenv("DHOLE_COORDINATOR", "/no/such/directory/meet", 1);
    ASSERT_OK(dhole_init(NULL, &group));
    ASSERT_EQ(dhole_size(group), 1);
    dhole_group_free(group);
}

TEST(ranks_with_different_numbers_of_addresses_are_named)
{
    static const char *const hosts[] = {"127.0.0.1:1,127.0.0.1:2", "127.0.0.1:3"};
    dhole_options options = DHOLE_OPTIONS_INIT;
    dhole_group *group = NULL;

    clear_environment();
    options.size = 2;
    options.hosts = hosts;
    ASSERT_ERR(dhole_init(&options, &group), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "rank 1 has 1 addresses (127.0.0.1:3)");
}

/* A key for each rank of a sealed world, and everybody's pins, as files that the environment names.
 */
static void set_keys(struct processes *all, int rank)
{
    char name[16], path[256], pins[ranks * DHOLE_FINGERPRINT_SIZE + 1] = "", *pem;
    size_t length;

    for (int r = 0; r < ranks; r++) {
        char fingerprint[DHOLE_FINGERPRINT_SIZE];
        dhole_fingerprint(&all->world.pin[r], fingerprint);
        strcat(strcat(pins, fingerprint), "\n");
    }
    snprintf(name, sizeof name, "pins-%d", rank);
    set_file("DHOLE_PINS", name, pins);
    snprintf(name, sizeof name, "key-%d.pem", rank);
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    close(open(path, O_CREAT | O_WRONLY | O_EXCL, 0600));
    ASSERT_OK(dhole_identity_to_pem(all->world.identity[rank], &pem, &length));
    set_file("DHOLE_IDENTITY", name, pem);
    dhole_secret_free(pem, length);
}

static void set_keys_and_seal_all(struct processes *all, int rank)
{
    set_keys(all, rank);
    setenv("DHOLE_SEAL", "on", 1);
}

static void set_keys_of_no_use(struct processes *all, int rank)
{
    (void)all;
    (void)rank;
    setenv("DHOLE_PINS", "/no/such/pins", 1);
    setenv("DHOLE_SEAL", "off", 1);
}

/* What went which way; expected is "sealed", "memory" or "plain", and nothing else may be there but
 * sealed control, of which there may be none yet. */
static void expect_traffic(dhole_group *group, const char *expected)
{
    dhole_stats stats;

    dhole_group_stats(group, &stats);
    ASSERT_EQ(stats.plain_bytes > 0, strcmp(expected, "plain") == 0);
    ASSERT_EQ(stats.memory_bytes > 0, strcmp(expected, "memory") == 0);
    if (strcmp(expected, "memory") != 0)
        ASSERT_EQ(stats.sealed_bytes > 0, strcmp(expected, "sealed") == 0);
}

static void expect_sealed(struct processes *all, dhole_group *group)
{
    (void)all;
    expect_traffic(group, "sealed");
}

static void expect_plain_memory(struct processes *all, dhole_group *group)
{
    (void)all;
    expect_traffic(group, "memory");
}

static void expect_plain(struct processes *all, dhole_group *group)
{
    (void)all;
    expect_traffic(group, "plain");
}

static void run_with(const dhole_options *options, void (*set)(struct processes *, int),
                     void (*expect)(struct processes *, dhole_group *))
{
    struct processes all;

    rank_variable = "DHOLE_RANK";
    hostfile_variable = "DHOLE_HOSTFILE";
    given_options = options;
    set_more = set;
    judge = expect;
    write_hostfile("\"%s\"");
    processes_start(&all, &backend_mem_sealed, ranks, join_by_environment);
    for (int i = 0; i < ranks; i++)
        process_reap(&all, i, 0);
    processes_close(&all);
}

TEST(keys_of_the_environment_seal_what_leaves_the_host)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    run_with(NULL, set_keys, expect_plain_memory);
    options.backend = "ring";
    run_with(&options, set_keys, expect_sealed);
}

TEST(seal_on_seals_memory_too)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    run_with(NULL, set_keys_and_seal_all, expect_sealed);
    options.backend = "shm";
    run_with(&options, set_keys_and_seal_all, expect_sealed);
}

TEST(seal_off_looks_at_no_keys)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    options.backend = "ring";
    run_with(&options, set_keys_of_no_use, expect_plain);
}

/* The keys of the environment are the group's: they stay for what is made of it. */
static void split_twice(struct processes *all, dhole_group *group)
{
    dhole_group *first, *second;
    float one = 1, sum;

    (void)all;
    unsetenv("DHOLE_IDENTITY");
    unsetenv("DHOLE_PINS");
    ASSERT_OK(dhole_split(group, 0, -1, &first));
    ASSERT_OK(dhole_split(first, 0, -1, &second));
    dhole_group_free(first);
    ASSERT_OK(dhole_split(second, 0, -1, &first));
    dhole_group_free(second);
    ASSERT_OK(dhole_all_sum(first, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == ranks);
    expect_traffic(first, "sealed");
    dhole_group_free(first);
}

TEST(groups_made_of_a_group_have_its_keys)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    options.backend = "ring";
    run_with(&options, set_keys, split_twice);
}

static void set_seal_on_alone(struct processes *all, int rank)
{
    set_keys(all, rank);
    if (rank == 1)
        setenv("DHOLE_SEAL", "on", 1);
}

static void set_keys_but_for_rank_1(struct processes *all, int rank)
{
    if (rank != 1)
        set_keys(all, rank);
}

static void set_off_for_rank_1(struct processes *all, int rank)
{
    set_keys(all, rank);
    if (rank == 1)
        setenv("DHOLE_SEAL", "off", 1);
}

static void fail_by_environment(struct processes *all, int rank)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    char text[16];
    dhole_group *group = NULL;

    clear_environment();
    snprintf(text, sizeof text, "%d", rank);
    setenv("DHOLE_RANK", text, 1);
    setenv("DHOLE_HOSTFILE", hostfile, 1);
    set_more(all, rank);
    options.connect_timeout_ms = patient(1000);
    report_end(all, rank, dhole_init(&options, &group));
    dhole_group_free(group);
}

/* Ranks 0 and 1 at least say what differs, and none waits for longer than it said. */
static void expect_difference(void (*set)(struct processes *, int), const char *part)
{
    struct processes all;
    int64_t end = now_ms() + patient(10000);

    set_more = set;
    write_hostfile("\"%s\"");
    processes_start(&all, &backend_mem_sealed, ranks, fail_by_environment);
    for (int i = 0; i < ranks; i++)
        process_reap(&all, i, 0);
    for (int i = 0; i < ranks; i++)
        ASSERT_MSG(all.report[i].err != DHOLE_OK, "rank %d joined", i);
    for (int i = 0; i < 2; i++)
        ASSERT_CONTAINS(all.report[i].message, part);
    ASSERT(now_ms() < end);
    processes_close(&all);
}

TEST(ranks_that_differ_about_the_seal_are_told)
{
    expect_difference(set_keys_but_for_rank_1,
                      "the seal differs: rank 0 has keys, rank 1 has none");
    expect_difference(set_off_for_rank_1, "the seal differs: rank 0 has keys, rank 1 has none");
    expect_difference(set_seal_on_alone, "the seal of shared memory differs");
}

TEST(a_seal_without_keys_is_an_error_that_says_how)
{
    clear_environment();
    write_hostfile("\"%s\"");
    setenv("DHOLE_RANK", "0", 1);
    setenv("DHOLE_HOSTFILE", hostfile, 1);
    setenv("DHOLE_SEAL", "on", 1);
    expect_config_error(NULL, "DHOLE_SEAL is on, and this group has no keys");
    ASSERT_CONTAINS(dhole_error_message(), "dhole launch");
    setenv("DHOLE_SEAL", "of", 1);
    expect_config_error(NULL, "DHOLE_SEAL is \"of\"");
    unsetenv("DHOLE_SEAL");
    set_file("DHOLE_HOSTFILE", "far.json", "[\"192.0.2.1:1\", \"192.0.2.2:1\"]");
    expect_config_error(NULL, "DHOLE_IDENTITY and DHOLE_PINS");
    ASSERT_CONTAINS(dhole_error_message(), "dhole launch");
    setenv("DHOLE_PINS", "/no/such/pins", 1);
    expect_config_error(NULL, "DHOLE_PINS: /no/such/pins");
}

/* What the options say comes first, and DHOLE_SEAL is looked at all the same. */
TEST(seal_on_is_for_groups_of_the_options_too)
{
    static const char *const hosts[] = {"127.0.0.1:1", "127.0.0.1:2"};
    dhole_options options = DHOLE_OPTIONS_INIT;

    clear_environment();
    setenv("DHOLE_SEAL", "on", 1);
    setenv("DHOLE_PINS", "/no/such/pins", 1);
    options.size = 2;
    options.hosts = hosts;
    expect_config_error(&options, "DHOLE_SEAL is on");
}

static void use_keys_of_options(struct processes *all, int rank)
{
    dhole_options options = DHOLE_OPTIONS_INIT;
    char text[16];
    dhole_group *group;

    clear_environment();
    snprintf(text, sizeof text, "%d", rank);
    setenv("DHOLE_RANK", text, 1);
    setenv("DHOLE_HOSTFILE", hostfile, 1);
    setenv("DHOLE_PINS", "/no/such/pins", 1);
    options.identity = all->world.identity[rank];
    options.pins = all->world.pin;
    ASSERT_OK(dhole_init(&options, &group));
    expect_traffic(group, "sealed"); /* memory too, as the options do not say plain_memory */
    dhole_group_free(group);
}

TEST(keys_of_the_options_come_before_those_of_the_environment)
{
    struct processes all;

    write_hostfile("\"%s\"");
    processes_start(&all, &backend_mem_sealed, ranks, use_keys_of_options);
    for (int i = 0; i < ranks; i++)
        process_reap(&all, i, 0);
    processes_close(&all);
}
