/* What each environment names: the rows of the table in docs/environment.md, and more. */
#include "group/env.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "group/launcher.h"
#include "test.h"

extern char **environ;

enum { rows_min = 35 };

static void clear_environment(void)
{
    static char *nothing[] = {NULL};

    environ = nothing;
    setenv("TMPDIR", test_dir(), 1);
}

static void write_file(const char *name, const char *text, char path[static 128])
{
    FILE *file;

    snprintf(path, 128, "%s/%s", test_dir(), name);
    file = fopen(path, "w");
    ASSERT(file != NULL);
    fputs(text, file);
    fclose(file);
}

static const char *write_hostfile(const char *text)
{
    static char path[128];

    write_file("hosts.json", text, path);
    return path;
}

static const char *write_devices(const char *text)
{
    static char path[128];

    write_file("devices.json", text, path);
    return path;
}

/* A row's cells, and the next text in backticks of one of them. */
static char *next_cell(char **line)
{
    char *cell = *line + strspn(*line, " |"), *end = strstr(cell, " |");

    if (end == NULL)
        return NULL;
    *end = '\0';
    *line = end + 2;
    return cell;
}

static char *next_quoted(char **cell)
{
    char *start = strchr(*cell, '`'), *end = start != NULL ? strchr(start + 1, '`') : NULL;

    if (end == NULL)
        return NULL;
    *end = '\0';
    *cell = end + 1;
    return start + 1;
}

/* The files and descriptors that the page names become real ones. */
static void set_variable(char *assignment)
{
    char *value = strchr(assignment, '=');
    int pair[2];
    char number[16];

    ASSERT_MSG(value != NULL, "%s is no assignment", assignment);
    *value++ = '\0';
    if (strcmp(value, "two.json") == 0)
        value = (char *)write_hostfile("[[\"10.0.0.1:5000\"], [\"10.0.0.2:5000\"]]");
    if (strcmp(value, "devices.json") == 0)
        value =
            (char *)write_devices("[[null, \"rdma_en2\"], [[\"rdma_en2\", \"rdma_en3\"], null]]");
    if (strcmp(assignment, "PMI_FD") == 0) {
        ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        snprintf(number, sizeof number, "%d", pair[0]);
        value = number;
    }
    setenv(assignment, value, 1);
}

static void check_place(const struct dhole__env *env, char *where)
{
    char *coordinator;

    if (strcmp(where, "the file's addresses") == 0) {
        ASSERT_STR(env->hosts.hosts[0], "10.0.0.1:5000");
        ASSERT_STR(env->hosts.hosts[1], "10.0.0.2:5000");
        ASSERT_STR(env->coordinator, "");
        return;
    }
    ASSERT(env->hosts.hosts == NULL);
    if (strcmp(where, "a Unix socket") == 0) {
        ASSERT_EQ(env->coordinator[0], '/');
        return;
    }
    coordinator = next_quoted(&where);
    ASSERT_STR(env->coordinator, coordinator != NULL ? coordinator : "");
}

static void check_row(char *variables, char *result, char *where)
{
    int rank, size;
    struct dhole__env env;
    dhole_err err;

    clear_environment();
    for (char *one; (one = next_quoted(&variables)) != NULL;)
        set_variable(one);
    err = dhole__env_read("any", &env);
    if (sscanf(result, "rank %d of %d", &rank, &size) == 2) {
        ASSERT_OK(err);
        ASSERT_EQ(env.rank, rank);
        ASSERT_EQ(env.size, size);
        check_place(&env, where);
        dhole__env_free(&env);
        return;
    }
    ASSERT_STR(dhole_error_name(err), next_quoted(&result));
    ASSERT_CONTAINS(dhole_error_message(), next_quoted(&where));
}

TEST(the_documented_table_is_true)
{
    FILE *page = fopen(DHOLE_DOCS "/environment.md", "r");
    char line[1024], text[1024];
    int rows = 0;

    ASSERT(page != NULL);
    while (fgets(line, sizeof line, page) != NULL) {
        char *rest = strcpy(text, line), *cell[3];
        if (strncmp(line, "| `", 3) != 0 && strncmp(line, "| nothing", 9) != 0)
            continue;
        for (int i = 0; i < 3; i++)
            cell[i] = i < 2 ? next_cell(&rest) : rest + strspn(rest, " ");
        if (cell[1] == NULL || (strncmp(cell[1], "rank", 4) != 0 && cell[1][0] != '`'))
            continue; /* of another table */
        if (strstr(cell[2], " |") != NULL)
            *strstr(cell[2], " |") = '\0';
        printf("%s", line);
        fflush(stdout);
        check_row(cell[0], cell[1], cell[2]);
        rows++;
    }
    fclose(page);
    ASSERT_MSG(rows >= rows_min, "only %d rows were found", rows);
}

TEST(a_variable_that_is_empty_is_not_set)
{
    struct dhole__env env;

    clear_environment();
    setenv("MLX_RANK", "", 1);
    setenv("DHOLE_RANK", "", 1);
    ASSERT_OK(dhole__env_read("any", &env));
    ASSERT(env.named_by == NULL);
    ASSERT_EQ(env.size, 1);
}

/* ml-explore/mlx #3442: jaccl was set up, and the ranks ran alone. */
TEST(mlx_3442_half_a_cluster_is_an_error)
{
    static const char *const variables[] = {
        "DHOLE_RANK",        "DHOLE_SIZE",      "DHOLE_HOSTFILE",
        "DHOLE_COORDINATOR", "MLX_RANK",        "MLX_HOSTFILE",
        "JACCL_RANK",        "MLX_IBV_DEVICES", "JACCL_IBV_DEVICES",
        "JACCL_COORDINATOR", "NCCL_PORT",       "MLX_JACCL_COORDINATOR",
        "MLX_WORLD_SIZE",    "NCCL_HOST_IP",    "TORCHELASTIC_RUN_ID",
        "SLURM_STEP_ID",     "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_SIZE",
        "PMI_RANK",          "PMI_SIZE",        "OMPI_COMM_WORLD_RANK",
    };
    struct dhole__env env;

    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        clear_environment();
        setenv(variables[i], "1", 1);
        ASSERT_ERR(dhole__env_read("any", &env), DHOLE_ERR_CONFIG);
        ASSERT_CONTAINS(dhole_error_message(), variables[i]);
    }
}

TEST(a_named_backend_looks_at_what_it_can_join)
{
    struct dhole__env env;

    clear_environment();
    setenv("MLX_IBV_DEVICES", "devices.json", 1);
    ASSERT_OK(dhole__env_read("ring", &env));
    ASSERT(env.named_by == NULL);
    setenv("MLX_RANK", "0", 1);
    ASSERT_ERR(dhole__env_read("ring", &env), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "MLX_HOSTFILE is not");
}

TEST(both_forms_of_host_file_keep_every_address)
{
    static const struct {
        const char *text, *last;
        int rails;
    } cases[] = {
        {"[\"10.0.0.1:1\", \"[::1]:2\", \"c:3\"]", "c:3", 1},
        {"[[\"10.0.0.1:1\"], \"[::1]:2\", [\"c:3\"]]", "c:3", 1},
        {"[[\"a:1\", \"b:1\"], [\"a:2\", \"b:2\"], [\"a:3\", \"[::1]:3\"]]", "a:3,[::1]:3", 2},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct dhole__env env;
        clear_environment();
        setenv("MLX_RANK", "2", 1);
        setenv("MLX_HOSTFILE", write_hostfile(cases[i].text), 1);
        ASSERT_OK(dhole__env_read("any", &env));
        ASSERT_EQ(env.rank, 2);
        ASSERT_EQ(env.size, 3);
        ASSERT_EQ(env.hosts.rails, cases[i].rails);
        ASSERT_STR(env.hosts.hosts[2], cases[i].last);
        dhole__env_free(&env);
    }
}

static void set_jaccl(const char *rank, const char *devices)
{
    clear_environment();
    setenv("JACCL_RANK", rank, 1);
    setenv("JACCL_COORDINATOR", "10.0.0.1:5000", 1);
    setenv("JACCL_IBV_DEVICES", write_devices(devices), 1);
}

TEST(each_rank_has_its_row_of_the_device_matrix)
{
    struct dhole__env env;
    const char *const *row;

    set_jaccl("1", "[[null, \"a\", [\"b\"]], [[\"c\", \"d\"], [], \"e\"], [\"f\", \"g\", null]]");
    ASSERT_OK(dhole__env_read("any", &env));
    ASSERT_STR(env.backend, "jaccl");
    ASSERT_EQ(env.rank, 1);
    ASSERT_EQ(env.size, 3);
    ASSERT_EQ(env.ring, false);
    row = dhole__devices_row(&env.devices, env.rank);
    ASSERT_STR(row[0], "c,d");
    ASSERT(row[1] == NULL);
    ASSERT_STR(row[2], "e");
    dhole__env_free(&env);
}

TEST(a_ring_is_a_boolean)
{
    static const struct {
        const char *value;
        bool ring;
    } cases[] = {
        {"", false},    {"0", false},  {"false", false}, {"FALSE", false},
        {"off", false}, {"no", false}, {"No", false},    {"1", true},
        {"true", true}, {"on", true},  {"yes", true},    {"ring", true},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const char *const variables[] = {"JACCL_RING", "MLX_JACCL_RING"};
        for (int k = 0; k < 2; k++) {
            struct dhole__env env;
            set_jaccl("0", "[[null, \"a\"], [\"a\", null]]");
            setenv(variables[k], cases[i].value, 1);
            ASSERT_OK(dhole__env_read("jaccl", &env));
            ASSERT_MSG(env.ring == cases[i].ring, "%s=\"%s\"", variables[k], cases[i].value);
            dhole__env_free(&env);
        }
    }
}

TEST(jaccl_looks_at_what_is_set_for_it_only)
{
    struct dhole__env env;

    set_jaccl("1", "[[null, \"a\"], [\"a\", null]]");
    setenv("DHOLE_RANK", "7", 1);
    setenv("MLX_HOSTFILE", "/no/such/file", 1);
    ASSERT_OK(dhole__env_read("jaccl", &env));
    ASSERT_EQ(env.rank, 1);
    dhole__env_free(&env);
    clear_environment();
    setenv("DHOLE_RANK", "7", 1);
    ASSERT_OK(dhole__env_read("jaccl", &env));
    ASSERT(env.named_by == NULL);
}

TEST(bad_values_are_named)
{
    static const struct {
        const char *rank, *text, *expected;
    } cases[] = {
        {"x", "[\"a:1\"]", "\"x\""},
        {"-1", "[\"a:1\"]", "\"-1\""},
        {"1.5", "[\"a:1\"]", "\"1.5\""},
        {"99999999999999999999", "[\"a:1\"]", "99999999999999999999"},
        {"1", "[\"a:1\"]", "lists 1 ranks"},
        {"0", "[]", "expected a list"},
        {"0", "{\"a\": 1}", "mlx.launch"},
        {"0", "[{\"ssh\": \"a\", \"ips\": []}]", "mlx.launch"},
        {"0", "[[]]", "entry 0"},
        {"0", "[\"a:1\", 7]", "entry 1"},
        {"0", "[[[\"a:1\"]]]", "entry 0"},
        {"0", "[\"\"]", "entry 0"},
        {"0", "[\"a:1,a:2\"]", "entry 0"},
        {"0", "[[\"a:1\", \"b:1\"], [\"a:2\"]]", "entry 0 lists 2 addresses and entry 1 lists 1"},
        {"0", "[\"a:1\"", "line 1"},
        {"0", "", "line 1"},
    };

    clear_environment();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct dhole__env env;
        setenv("DHOLE_RANK", cases[i].rank, 1);
        setenv("DHOLE_HOSTFILE", write_hostfile(cases[i].text), 1);
        ASSERT_ERR(dhole__env_read("any", &env), DHOLE_ERR_CONFIG);
        ASSERT_CONTAINS(dhole_error_message(), cases[i].expected);
    }
}

TEST(ranks_of_one_job_meet_at_one_place_and_jobs_at_different_ones)
{
    static const struct {
        const char *id, *rank;
    } starts[] = {{"77", "0"}, {"77", "1"}, {"78", "0"}};
    struct dhole__env env[3];

    for (int i = 0; i < 3; i++) {
        clear_environment();
        setenv("OMPI_COMM_WORLD_RANK", starts[i].rank, 1);
        setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
        setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2", 1);
        setenv("PMIX_NAMESPACE", starts[i].id, 1);
        ASSERT_OK(dhole__env_read("any", &env[i]));
    }
    ASSERT_STR(env[0].coordinator, env[1].coordinator);
    ASSERT_STR(env[0].session, env[1].session);
    ASSERT(strcmp(env[0].coordinator, env[2].coordinator) != 0);
    ASSERT(strcmp(env[0].session, env[2].session) != 0);
}

TEST(a_directory_that_others_may_enter_is_refused)
{
    char path[128];
    struct dhole__env env;

    clear_environment();
    setenv("RANK", "0", 1);
    setenv("WORLD_SIZE", "2", 1);
    setenv("LOCAL_WORLD_SIZE", "2", 1);
    setenv("MASTER_ADDR", "a", 1);
    setenv("MASTER_PORT", "29500", 1);
    setenv("TORCHELASTIC_RUN_ID", "x", 1);
    ASSERT_OK(dhole__env_read("any", &env));
    snprintf(path, sizeof path, "%s/dhole-%lu", test_dir(), (unsigned long)geteuid());
    ASSERT(chmod(path, 0777) == 0);
    ASSERT_ERR(dhole__env_read("any", &env), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), path);
}

TEST(the_first_host_of_a_slurm_list)
{
    static const char *const good[][2] = {
        {"a", "a"},
        {"a,b", "a"},
        {"node-1.example,node-2", "node-1.example"},
        {"gpu[07-09,12],login", "gpu07"},
        {"gpu[3]", "gpu3"},
        {"rack[1-2]-node,other[5]", "rack1-node"},
    };
    static const char *const bad[] = {
        "", ",", "a[", "a[]", "a[1", "r[1-2]n[3-4]", "a-name-that-is-too-long-for-it",
    };
    char host[16];

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ASSERT_OK(dhole__slurm_first_host(good[i][0], host, sizeof host));
        ASSERT_STR(host, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ASSERT_MSG(dhole__slurm_first_host(bad[i], host, sizeof host) == DHOLE_ERR_CONFIG,
                   "\"%s\" passed", bad[i]);
}
