/* A file's parts, as gguf.c and gguf_tensors.c find them and gguf_metadata.c looks them up. */
#ifndef DHOLE_MODEL_GGUF_FILE_H
#define DHOLE_MODEL_GGUF_FILE_H

#include "model/gguf_reader.h"

enum { dhole__gguf_name_max = 64 }; /* of a tensor, the format's limit */

struct dhole__gguf_value {
    struct dhole__gguf_string key;
    enum dhole__gguf_type type; /* of the elements, when it is an array */
    bool is_array;
    size_t count;        /* elements of an array */
    const uint8_t *data; /* a string starts with its length in 8 bytes */
};

struct dhole__gguf_entry {
    struct dhole__tensor tensor;
    uint64_t offset; /* of its data in the data part */
    char name[dhole__gguf_name_max + 1];
};

struct dhole__gguf {
    const uint8_t *data;
    size_t size;
    void *map; /* to be unmapped; NULL when the memory is the caller's */
    size_t header_size;
    struct dhole__gguf_value *values; /* sorted by key */
    size_t value_count;
    struct dhole__gguf_entry *tensors; /* sorted by offset */
    size_t tensor_count;
};

/* Reads the list of gguf->tensor_count tensors, which ends the header, and finds their data. */
DHOLE__MUST_CHECK dhole_err dhole__gguf_read_tensors(struct dhole__gguf *gguf,
                                                     struct dhole__reader *r);

/* The order of the values: by bytes, a prefix first. */
int dhole__gguf_compare(struct dhole__gguf_string a, struct dhole__gguf_string b);

#endif
