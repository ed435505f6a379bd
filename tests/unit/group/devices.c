/* The device matrix: what it may say, and what is said of one that is wrong. */
#include "group/devices.h"

#include "coll/comm.h"
#include "test.h"

static dhole_err parse(const char *text, bool ring, struct dhole__devices *out)
{
    json_t *root;
    dhole_err err;

    ASSERT_OK(dhole__json_parse(text, strlen(text), "devices.json", &root));
    err = dhole__devices_parse(root, "devices.json", ring, out);
    json_decref(root);
    return err;
}

static dhole_options options_of(const struct dhole__devices *devices, int rank, bool ring)
{
    dhole_options options = DHOLE_OPTIONS_INIT;

    options.rank = rank;
    options.size = devices->size;
    options.devices = dhole__devices_row(devices, rank);
    options.ring = ring;
    return options;
}

/* "01 12" are the pairs of ranks that RDMA joins. */
static void check_pairs(const struct dhole__devices *devices, bool ring, const char *expected)
{
    char pairs[256] = "";

    for (int a = 0; a < devices->size; a++) {
        dhole_options options = options_of(devices, a, ring);
        for (int b = a + 1; b < devices->size; b++) {
            dhole_options back = options_of(devices, b, ring);
            ASSERT_EQ(dhole__devices_lead_to(&options, b), dhole__devices_lead_to(&back, a));
            if (dhole__devices_lead_to(&options, b))
                sprintf(pairs + strlen(pairs), "%s%d%d", pairs[0] != '\0' ? " " : "", a, b);
        }
        ASSERT(!dhole__devices_lead_to(&options, a));
    }
    ASSERT_STR(pairs, expected);
}

static const char mesh_of_4[] = "[[null, \"a\", \"b\", \"c\"], [\"a\", null, \"b\", \"c\"],"
                                " [\"a\", \"b\", null, \"c\"], [\"a\", \"b\", \"c\", null]]";
static const char ring_of_4[] = "[[null, \"a\", null, \"c\"], [\"a\", null, \"b\", []],"
                                " [[], \"b\", null, \"c\"], [\"a\", null, \"c\", null]]";

TEST(the_matrix_decides_between_mesh_and_ring)
{
    static const struct {
        const char *text;
        bool ring;
        const char *pairs;
    } cases[] = {
        {"[[null]]", false, ""},
        {"[[\"ignored\"]]", false, ""},
        {"[[null, \"a\"], [\"a\", null]]", false, "01"},
        {"[[null, \"a\"], [\"a\", null]]", true, "01"},
        {"[[\"x\", \"a\"], [\"a\", 7]]", false, "01"}, /* a rank's way to itself does not matter */
        {mesh_of_4, false, "01 02 03 12 13 23"},
        {mesh_of_4, true, "01 03 12 23"},
        {ring_of_4, false, "01 03 12 23"},
        {ring_of_4, true, "01 03 12 23"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct dhole__devices devices;
        ASSERT_OK(parse(cases[i].text, cases[i].ring, &devices));
        check_pairs(&devices, cases[i].ring, cases[i].pairs);
        dhole__devices_free(&devices);
    }
}

static const char *repeat(char *out, const char *head, const char *part, int n, const char *tail)
{
    strcpy(out, head);
    for (int i = 0; i < n; i++)
        strcat(strcat(out, i > 0 ? "," : ""), part);
    return strcat(out, tail);
}

TEST(what_is_wrong_is_named_by_file_row_and_column)
{
    static char many_rows[2048], many_names[256], long_name[256];
    const struct {
        const char *text;
        bool ring;
        const char *expected;
    } cases[] = {
        {"{}", false, "expected a matrix"},
        {"[]", false, "expected a matrix"},
        {repeat(many_rows, "[", "[]", dhole__rank_max + 1, "]"), false, "expected a matrix"},
        {"[null]", false, "row 0 has 0 entries"},
        {"[[null, \"a\"], [\"a\"]]", false, "row 1 has 1 entries: expected a list of 2"},
        {"[[null, \"a\"], [\"a\", null, null]]", false, "row 1 has 3 entries"},
        {"[[null, \"a\"], \"ab\"]", false, "row 1 has 0 entries"},
        {"[[null, \"a\"], [7, null]]", false, "row 1, column 0: expected null, the name"},
        {"[[null, \"a\"], [true, null]]", false, "row 1, column 0: expected null, the name"},
        {"[[null, {\"a\": 1}], [\"a\", null]]", false, "row 0, column 1: expected null, the name"},
        {"[[null, [\"a\", null]], [\"a\", null]]", false, "row 0, column 1: expected null"},
        {"[[null, [[\"a\"]]], [\"a\", null]]", false, "row 0, column 1: expected null"},
        {"[[null, \"\"], [\"a\", null]]", false, "row 0, column 1: \"\" is not the name"},
        {"[[null, \"a b\"], [\"a\", null]]", false, "\"a b\" is not the name"},
        {"[[null, \"a,b\"], [\"a\", null]]", false, "\"a,b\" is not the name"},
        {repeat(long_name, "[[null, \"", "aaaaaaaaaaaaaaa", 4, "a\"], [\"a\", null]]"), false,
         "row 0, column 1: \"aaaa"},
        {repeat(many_names, "[[null, [", "\"a\"", 9, "]], [\"a\", null]]"), false,
         "row 0, column 1: 9 devices: expected at most 8"},
        {"[[null, null], [null, null]]", false, "row 0, column 1: no device leads from rank 0"},
        {"[[null, \"a\"], [null, null]]", false, "row 1, column 0: no device leads from rank 1"},
        {"[[null, \"a\", \"a\"], [\"a\", null, []], [\"a\", \"a\", null]]", true,
         "row 1, column 2: no device leads from rank 1 to rank 2, which are next"},
        /* 0 to 2 has devices, 2 to 0 has none */
        {"[[null, \"a\", \"b\", \"c\"], [\"a\", null, \"b\", null], [null, \"b\", null, \"c\"],"
         " [\"a\", null, \"c\", null]]",
         false, "row 2, column 0: no device leads from rank 2 to rank 0, but the other way"},
        /* five ranks: neither mesh nor ring */
        {"[[null, \"a\", \"b\", null, \"c\"], [], [], [], []]", false, "row 1 has 0 entries"},
        {"[[0, \"a\", \"b\", null, \"c\"], [\"a\", 0, \"a\", \"a\", \"a\"],"
         " [\"a\", \"a\", 0, \"a\", \"a\"], [\"a\", \"a\", \"a\", 0, \"a\"],"
         " [\"a\", \"a\", \"a\", \"a\", 0]]",
         false,
         "row 0, column 3: no device leads from rank 0 to rank 3, though one does to rank 2"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct dhole__devices devices;
        ASSERT_MSG(parse(cases[i].text, cases[i].ring, &devices) == DHOLE_ERR_CONFIG,
                   "%s was taken", cases[i].text);
        ASSERT_CONTAINS(dhole_error_message(), "devices.json");
        ASSERT_CONTAINS(dhole_error_message(), cases[i].expected);
    }
}

TEST(devices_are_opened_once_for_all_whom_they_lead_to)
{
    static const char *const row[] = {"a,b", NULL, "b", "c"};
    dhole_options options = DHOLE_OPTIONS_INIT;
    struct dhole__device_use use[dhole__devices_max];
    int n;

    options.rank = 1;
    options.size = 4;
    options.devices = row;
    ASSERT_OK(dhole__devices_check_row(&options));
    ASSERT_OK(dhole__devices_used(&options, use, &n));
    ASSERT_EQ(n, 3);
    ASSERT_STR(use[0].name, "a");
    ASSERT_EQ(use[0].peers, 1);
    ASSERT_STR(use[1].name, "b");
    ASSERT_EQ(use[1].peers, 2);
    options.ring = 1; /* rank 3 is no neighbour of rank 1 */
    ASSERT_OK(dhole__devices_used(&options, use, &n));
    ASSERT_EQ(n, 2);
}

TEST(a_row_of_the_options_is_checked_too)
{
    static const struct {
        const char *row[3], *expected;
    } cases[] = {
        {{NULL, "a", NULL}, "row 0, column 2: no device"},
        {{NULL, "a", ""}, "row 0, column 2: \"\" is not"},
        {{NULL, "a,,b", "a"}, "row 0, column 1: \"\" is not"},
        {{NULL, "a,b,", "a"}, "row 0, column 1: \"\" is not"},
        {{NULL, "a,b,c,d,e,f,g,h,i", "a"}, "row 0, column 1: more than 8 devices"},
        {{NULL, "a", "a\tb"}, "row 0, column 2: \"a?b\" is not"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dhole_options options = DHOLE_OPTIONS_INIT;
        options.size = 3;
        options.devices = cases[i].row;
        ASSERT_ERR(dhole__devices_check_row(&options), DHOLE_ERR_CONFIG);
        ASSERT_CONTAINS(dhole_error_message(), cases[i].expected);
    }
}

TEST(a_rank_with_too_many_devices_is_named)
{
    static const char *const row[] = {NULL, "a,b,c,d,e,f,g,h", "i"};
    dhole_options options = DHOLE_OPTIONS_INIT;
    struct dhole__device_use use[dhole__devices_max];
    int n;

    options.size = 3;
    options.devices = row;
    ASSERT_OK(dhole__devices_check_row(&options));
    ASSERT_ERR(dhole__devices_used(&options, use, &n), DHOLE_ERR_CONFIG);
    ASSERT_CONTAINS(dhole_error_message(), "row 0 of the device matrix: i is one device too many");
}
