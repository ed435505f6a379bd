/* The container: what is read from a good file, and that no bad one gets through. */
#include "model/gguf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dhole/error.h"
#include "gguf_writer.h"
#include "test.h"

/* Opens a copy that ends with its memory, so that a sanitizer sees reads beyond. */
static dhole_err open_copy(const void *data, size_t size, struct dhole__gguf **out, void **copy)
{
    *copy = malloc(size > 0 ? size : 1);
    ASSERT(*copy != NULL);
    if (size > 0)
        memcpy(*copy, data, size);
    *out = NULL;
    return dhole__gguf_open_memory(*copy, size, out);
}

static void refuse(struct gguf_writer *w, dhole_err expected, const char *part)
{
    struct dhole__gguf *g;
    void *copy;

    ASSERT_ERR(open_copy(w->data, w->size, &g, &copy), expected);
    ASSERT_CONTAINS(dhole_error_message(), part);
    ASSERT(g == NULL);
    free(copy);
    gguf_free(w);
}

static void start_one_tensor(struct gguf_writer *w)
{
    gguf_start(w, 3);
    gguf_tensor(w, "t", DHOLE__F32, 8, 4);
}

static void read_back(uint32_t version)
{
    static const char *const words[] = {"one", "", "three"};
    struct gguf_writer w;
    struct dhole__gguf *g;
    struct dhole__gguf_array array;
    struct dhole__gguf_string s;
    const struct dhole__tensor *t;
    void *copy;
    bool flag = false;
    float f = 0;
    int x = 0;

    gguf_start(&w, version);
    gguf_u32(&w, "u32", 7);
    gguf_key(&w, "i8", DHOLE__GGUF_I8);
    gguf_number(&w, 0xff, 1);
    gguf_key(&w, "u64", DHOLE__GGUF_U64);
    gguf_number(&w, 1000000, 8);
    gguf_key(&w, "f64", DHOLE__GGUF_F64);
    gguf_number(&w, 0x3ff8000000000000, 8);
    gguf_f32(&w, "f32", 0.25f);
    gguf_bool(&w, "bool", 1);
    gguf_text(&w, "text", "hello");
    gguf_texts(&w, "words", words, 3);
    gguf_tensor(&w, "b", DHOLE__Q4_1, 32, 2);
    gguf_tensor(&w, "a", DHOLE__F32, 3, 0);
    gguf_finish(&w);
    ASSERT_OK(open_copy(w.data, w.size, &g, &copy));

    ASSERT_OK(dhole__gguf_int(g, "u32", DHOLE__GGUF_REQUIRED, 0, 10, &x));
    ASSERT_EQ(x, 7);
    ASSERT_OK(dhole__gguf_int(g, "i8", DHOLE__GGUF_REQUIRED, -1, 10, &x));
    ASSERT_EQ(x, -1);
    ASSERT_OK(dhole__gguf_int(g, "u64", DHOLE__GGUF_REQUIRED, 0, 1000000, &x));
    ASSERT_EQ(x, 1000000);
    ASSERT_OK(dhole__gguf_int(g, "absent", DHOLE__GGUF_OPTIONAL, 0, 1, &x));
    ASSERT_EQ(x, 1000000);
    ASSERT_OK(dhole__gguf_float(g, "f64", DHOLE__GGUF_REQUIRED, &f));
    ASSERT(f == 1.5f);
    ASSERT_OK(dhole__gguf_float(g, "f32", DHOLE__GGUF_REQUIRED, &f));
    ASSERT(f == 0.25f);
    ASSERT_OK(dhole__gguf_bool(g, "bool", DHOLE__GGUF_REQUIRED, &flag));
    ASSERT(flag);
    ASSERT_OK(dhole__gguf_text(g, "text", DHOLE__GGUF_REQUIRED, &s));
    ASSERT(dhole__gguf_string_is(s, "hello") && !dhole__gguf_string_is(s, "hell"));
    ASSERT_OK(dhole__gguf_elements(g, "words", DHOLE__GGUF_REQUIRED, DHOLE__GGUF_STRING, &array));
    ASSERT_EQ(array.count, 3);
    for (int i = 0; i < 3; i++)
        ASSERT(dhole__gguf_string_is(dhole__gguf_next_string(&array), words[i]));

    ASSERT_EQ(dhole__gguf_tensor_count(g), 2);
    t = dhole__gguf_tensor(g, 0);
    ASSERT_STR(t->name, "b");
    ASSERT_EQ(t->type, DHOLE__Q4_1);
    ASSERT_EQ(t->dims, 2);
    ASSERT(t->shape[0] == 32 && t->shape[1] == 2 && t->shape[2] == 1 && t->shape[3] == 1);
    ASSERT_EQ(t->bytes, 40);
    t = dhole__gguf_tensor(g, 1);
    ASSERT_STR(t->name, "a");
    ASSERT_EQ((const uint8_t *)t->data - (uint8_t *)copy, (ptrdiff_t)w.size - 12);
    ASSERT_EQ(((const uint8_t *)t->data)[11], 1);

    dhole__gguf_close(g);
    free(copy);
    gguf_free(&w);
}

TEST(reads_version_2)
{
    read_back(2);
}

TEST(reads_version_3)
{
    read_back(3);
}

/* Every integer type at both of its ends. */
TEST(integers)
{
    static const struct {
        enum dhole__gguf_type type;
        uint64_t raw;
        size_t bytes;
        int expected;
    } cases[] = {
        {DHOLE__GGUF_U8, 0xff, 1, 255},
        {DHOLE__GGUF_I8, 0x80, 1, -128},
        {DHOLE__GGUF_U16, 0xffff, 2, 65535},
        {DHOLE__GGUF_I16, 0x8000, 2, -32768},
        {DHOLE__GGUF_U32, INT32_MAX, 4, INT32_MAX},
        {DHOLE__GGUF_I32, 0x80000000, 4, INT32_MIN},
        {DHOLE__GGUF_U64, 1 << 20, 8, 1 << 20},
        {DHOLE__GGUF_I64, UINT64_MAX, 8, -1},
    };
    struct gguf_writer w;
    struct dhole__gguf *g;
    void *copy;
    int x;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gguf_start(&w, 3);
        gguf_key(&w, "x", cases[i].type);
        gguf_number(&w, cases[i].raw, cases[i].bytes);
        gguf_key(&w, "huge", DHOLE__GGUF_U64);
        gguf_number(&w, UINT64_MAX, 8);
        gguf_finish(&w);
        ASSERT_OK(open_copy(w.data, w.size, &g, &copy));
        ASSERT_OK(dhole__gguf_int(g, "x", DHOLE__GGUF_REQUIRED, INT32_MIN, INT32_MAX, &x));
        ASSERT_EQ(x, cases[i].expected);
        ASSERT_ERR(dhole__gguf_int(g, "huge", DHOLE__GGUF_REQUIRED, INT32_MIN, INT32_MAX, &x),
                   DHOLE_ERR_FORMAT);
        dhole__gguf_close(g);
        free(copy);
        gguf_free(&w);
    }
}

TEST(metadata_is_checked)
{
    struct gguf_writer w;
    struct dhole__gguf *g;
    struct dhole__gguf_array array;
    struct dhole__gguf_string s;
    void *copy;
    float f;
    bool flag;
    int x = 0;

    gguf_start(&w, 3);
    gguf_u32(&w, "number", 7);
    gguf_text(&w, "text", "hello");
    gguf_bool(&w, "maybe", 2);
    gguf_f32(&w, "infinite", (float)1e300);
    gguf_i32s(&w, "list", &x, 1);
    gguf_finish(&w);
    ASSERT_OK(open_copy(w.data, w.size, &g, &copy));
    ASSERT_ERR(dhole__gguf_int(g, "none", DHOLE__GGUF_REQUIRED, 0, 9, &x), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), "none is missing");
    ASSERT_ERR(dhole__gguf_int(g, "number", DHOLE__GGUF_REQUIRED, 8, 9, &x), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), "number is 7 at byte");
    ASSERT_ERR(dhole__gguf_int(g, "text", DHOLE__GGUF_OPTIONAL, 0, 9, &x), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), "of type string at byte");
    ASSERT_ERR(dhole__gguf_int(g, "list", DHOLE__GGUF_OPTIONAL, 0, 9, &x), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), "array of int32");
    ASSERT_ERR(dhole__gguf_float(g, "number", DHOLE__GGUF_OPTIONAL, &f), DHOLE_ERR_FORMAT);
    ASSERT_ERR(dhole__gguf_float(g, "infinite", DHOLE__GGUF_OPTIONAL, &f), DHOLE_ERR_FORMAT);
    ASSERT_ERR(dhole__gguf_bool(g, "maybe", DHOLE__GGUF_OPTIONAL, &flag), DHOLE_ERR_FORMAT);
    ASSERT_ERR(dhole__gguf_text(g, "number", DHOLE__GGUF_OPTIONAL, &s), DHOLE_ERR_FORMAT);
    ASSERT_ERR(dhole__gguf_elements(g, "list", DHOLE__GGUF_OPTIONAL, DHOLE__GGUF_STRING, &array),
               DHOLE_ERR_FORMAT);
    dhole__gguf_close(g);
    free(copy);
    gguf_free(&w);
}

TEST(every_truncation_is_refused)
{
    struct gguf_writer w;
    struct dhole__gguf *g;
    void *copy;

    gguf_tiny(&w, NULL);
    for (size_t size = 0; size < w.size; size++) {
        ASSERT_ERR(open_copy(w.data, size, &g, &copy), DHOLE_ERR_FORMAT);
        ASSERT_MSG(strstr(dhole_error_message(), "truncated") != NULL, "%zu bytes: %s", size,
                   dhole_error_message());
        free(copy);
    }
    gguf_free(&w);
}

TEST(any_changed_byte_is_survived)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    struct gguf_writer w;
    struct dhole__gguf *g;
    void *copy;

    gguf_tiny(&w, NULL);
    for (size_t i = 0; i < w.size && i < 8192; i++)
        for (size_t c = 0; c < sizeof changes; c++) {
            w.data[i] ^= changes[c];
            if (open_copy(w.data, w.size, &g, &copy) == DHOLE_OK)
                dhole__gguf_close(g);
            free(copy);
            w.data[i] ^= changes[c];
        }
    gguf_free(&w);
}

TEST(not_a_model_file)
{
    struct gguf_writer w = {0};

    gguf_put(&w, "PK\3\4 and more bytes than the header has", 40);
    refuse(&w, DHOLE_ERR_FORMAT, "not a GGUF file: it starts with the bytes 50 4b 03 04");
    gguf_start(&w, 1);
    refuse(&w, DHOLE_ERR_UNSUPPORTED, "GGUF version 1;");
    gguf_start(&w, 4);
    refuse(&w, DHOLE_ERR_UNSUPPORTED, "GGUF version 4;");
    gguf_start(&w, 0x03000000);
    refuse(&w, DHOLE_ERR_UNSUPPORTED, "big-endian");
}

TEST(not_a_regular_file)
{
    char path[128];
    struct dhole__gguf *g;
    int fd;

    ASSERT_ERR(dhole__gguf_open(test_dir(), &g), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), "a directory");
    ASSERT_ERR(dhole__gguf_open("/dev/null", &g), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), "not a regular file");
    snprintf(path, sizeof path, "%s/fifo", test_dir());
    ASSERT_EQ(mkfifo(path, 0600), 0);
    ASSERT_ERR(dhole__gguf_open(path, &g), DHOLE_ERR_FORMAT);
    snprintf(path, sizeof path, "%s/none", test_dir());
    ASSERT_ERR(dhole__gguf_open(path, &g), DHOLE_ERR_SYSTEM);
    ASSERT_CONTAINS(dhole_error_message(), "No such file");
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    ASSERT(fd >= 0);
    close(fd);
    ASSERT_ERR(dhole__gguf_open(path, &g), DHOLE_ERR_FORMAT);
    ASSERT_CONTAINS(dhole_error_message(), "empty");
}

/* A file of nothing but the two counts, and some room behind. */
static void refuse_counts(uint64_t tensors, uint64_t values, const char *part)
{
    struct gguf_writer w;

    gguf_start(&w, 3);
    w.tensors = 0;
    gguf_finish(&w);
    w.size = 8;
    gguf_number(&w, tensors, 8);
    gguf_number(&w, values, 8);
    gguf_put(&w, NULL, 1000);
    refuse(&w, DHOLE_ERR_FORMAT, part);
}

TEST(huge_counts)
{
    refuse_counts(UINT64_MAX, 0, "the number of tensors is 18446744073709551615, at most");
    refuse_counts(0, UINT64_MAX, "the number of metadata values is 18446744073709551615, at most");
    refuse_counts(60000, 0, "the number of tensors is 60000, more than a file of");
    refuse_counts(0, 60000, "the number of metadata values is 60000, more than a file of");
}

TEST(huge_lengths)
{
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 7, UINT64_MAX / 8 + 2,
                                     (uint64_t)1 << 61, 1 << 20};
    struct gguf_writer w;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        gguf_start(&w, 3);
        gguf_key(&w, "text", DHOLE__GGUF_STRING);
        gguf_number(&w, sizes[i], 8);
        gguf_finish(&w);
        refuse(&w, DHOLE_ERR_FORMAT, "truncated: a metadata string at byte");

        for (int type = DHOLE__GGUF_U8; type <= DHOLE__GGUF_F64; type++) {
            if (type == DHOLE__GGUF_ARRAY)
                continue;
            gguf_start(&w, 3);
            gguf_key(&w, "list", DHOLE__GGUF_ARRAY);
            gguf_number(&w, (uint64_t)type, 4);
            gguf_number(&w, sizes[i], 8);
            gguf_finish(&w);
            refuse(&w, DHOLE_ERR_FORMAT, "truncated: the array at byte");
        }
    }
}

TEST(bad_values)
{
    struct gguf_writer w;

    gguf_start(&w, 3);
    gguf_key(&w, "nested", DHOLE__GGUF_ARRAY);
    gguf_number(&w, DHOLE__GGUF_ARRAY, 4);
    gguf_number(&w, 1, 8);
    gguf_finish(&w);
    refuse(&w, DHOLE_ERR_FORMAT, "holds arrays");

    gguf_start(&w, 3);
    gguf_key(&w, "k", (enum dhole__gguf_type)13);
    gguf_put(&w, NULL, 64);
    gguf_finish(&w);
    refuse(&w, DHOLE_ERR_FORMAT, "is 13, unknown to GGUF");

    gguf_start(&w, 3);
    gguf_u32(&w, "twice", 1);
    gguf_u32(&w, "other", 1);
    gguf_text(&w, "twice", "x");
    gguf_finish(&w);
    refuse(&w, DHOLE_ERR_FORMAT, "key twice occurs twice");

    gguf_start(&w, 3);
    gguf_u32(&w, "esc\x1b[2J", 1);
    gguf_finish(&w);
    refuse(&w, DHOLE_ERR_FORMAT, "0x1b, which is not printable");

    gguf_start(&w, 3);
    gguf_u32(&w, "", 1);
    gguf_finish(&w);
    refuse(&w, DHOLE_ERR_FORMAT, "has 0 bytes");
}

TEST(bad_alignment)
{
    static const uint32_t bad[] = {0, 1, 4, 12, 1 << 17, UINT32_MAX};
    struct gguf_writer w;
    struct dhole__gguf *g;
    void *copy;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        start_one_tensor(&w);
        gguf_u32(&w, "general.alignment", bad[i]);
        gguf_finish(&w);
        refuse(&w, DHOLE_ERR_FORMAT, "general.alignment is ");
    }
    gguf_start(&w, 3);
    w.alignment = 8;
    gguf_u32(&w, "general.alignment", 8);
    gguf_tensor(&w, "a", DHOLE__F32, 1, 0);
    gguf_tensor(&w, "b", DHOLE__F32, 1, 0);
    gguf_finish(&w);
    ASSERT_OK(open_copy(w.data, w.size, &g, &copy));
    ASSERT_EQ((const char *)dhole__gguf_tensor(g, 1)->data -
                  (const char *)dhole__gguf_tensor(g, 0)->data,
              8);
    dhole__gguf_close(g);
    free(copy);
    gguf_free(&w);
}

/* The tensor {8, 4} of F32 with one field changed. */
static void refuse_tensor(struct gguf_tensor spoilt, dhole_err expected, const char *part)
{
    struct gguf_writer w;

    start_one_tensor(&w);
    if (spoilt.name[0] != '\0')
        memcpy(w.tensor[0].name, spoilt.name, sizeof spoilt.name);
    if (spoilt.dims > 0)
        w.tensor[0].dims = spoilt.dims - 1;
    if (spoilt.shape[0] > 0)
        memcpy(w.tensor[0].shape, spoilt.shape, sizeof spoilt.shape);
    if (spoilt.type > 0)
        w.tensor[0].type = spoilt.type;
    w.tensor[0].offset = spoilt.offset;
    gguf_finish(&w);
    refuse(&w, expected, part);
}

TEST(bad_tensors)
{
    struct gguf_tensor too_long = {0};

    refuse_tensor((struct gguf_tensor){.dims = 1 + 0}, DHOLE_ERR_FORMAT, "has 0 dimensions");
    refuse_tensor((struct gguf_tensor){.dims = 1 + 5}, DHOLE_ERR_FORMAT, "has 5 dimensions");
    refuse_tensor((struct gguf_tensor){.shape = {8, 0}}, DHOLE_ERR_FORMAT,
                  "dimension 1 of tensor t");
    refuse_tensor((struct gguf_tensor){.shape = {UINT64_MAX, 2}}, DHOLE_ERR_FORMAT, "too large");
    refuse_tensor((struct gguf_tensor){.shape = {(uint64_t)1 << 62, 1}}, DHOLE_ERR_FORMAT,
                  "too large");
    refuse_tensor((struct gguf_tensor){.shape = {8, (uint64_t)1 << 40}}, DHOLE_ERR_FORMAT,
                  "truncated: tensor t");
    refuse_tensor((struct gguf_tensor){.type = DHOLE__Q4_0}, DHOLE_ERR_FORMAT,
                  "rows of 8 elements, not a multiple of the 32");
    refuse_tensor((struct gguf_tensor){.type = 12}, DHOLE_ERR_UNSUPPORTED, "Q4_K (12)");
    refuse_tensor((struct gguf_tensor){.type = 4}, DHOLE_ERR_UNSUPPORTED, "unknown (4)");
    refuse_tensor((struct gguf_tensor){.type = UINT32_MAX}, DHOLE_ERR_UNSUPPORTED, "unknown");
    refuse_tensor((struct gguf_tensor){.offset = 16}, DHOLE_ERR_FORMAT,
                  "offset 16, not a multiple");
    refuse_tensor((struct gguf_tensor){.offset = 32}, DHOLE_ERR_FORMAT, "truncated: tensor t");
    refuse_tensor((struct gguf_tensor){.offset = UINT64_MAX - 31}, DHOLE_ERR_FORMAT,
                  "truncated: tensor t");
    refuse_tensor((struct gguf_tensor){.name = "a\nb"}, DHOLE_ERR_FORMAT, "not printable");
    memset(too_long.name, 'x', 65);
    refuse_tensor(too_long, DHOLE_ERR_FORMAT, "has 65 bytes");
}

TEST(tensors_are_apart)
{
    struct gguf_writer w;

    start_one_tensor(&w);
    gguf_tensor(&w, "u", DHOLE__F32, 8, 4)->offset = 96;
    gguf_finish(&w);
    refuse(&w, DHOLE_ERR_FORMAT, "tensor u at offset 96 overlaps tensor t, which ends at 128");

    start_one_tensor(&w);
    gguf_tensor(&w, "t", DHOLE__F32, 8, 4);
    gguf_finish(&w);
    refuse(&w, DHOLE_ERR_FORMAT, "the tensor t occurs twice");
}
