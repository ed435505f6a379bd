/* Writes model files for tests, byte by byte, so that a test can also write what no
 * well-made file has. */
#ifndef DHOLE_TEST_GGUF_WRITER_H
#define DHOLE_TEST_GGUF_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "model/gguf.h"

enum { gguf_tensors_max = 64 };

struct gguf_tensor {
    char name[80];
    uint32_t type, dims;
    uint64_t shape[5];
    uint64_t offset, bytes;
};

struct gguf_writer {
    uint8_t *data;
    size_t size, capacity;
    uint64_t alignment; /* of the tensors' offsets; 32 unless set */
    uint64_t values, tensors;
    uint64_t end; /* of the last tensor's data */
    struct gguf_tensor tensor[gguf_tensors_max];
    const char *skip; /* keys and tensors, with a space between, that gguf_llama leaves out */
};

/* Ends the program when there is no memory. The caller frees with gguf_free. */
void gguf_start(struct gguf_writer *w, uint32_t version);
void gguf_free(struct gguf_writer *w);

void gguf_put(struct gguf_writer *w, const void *data, size_t n);
void gguf_number(struct gguf_writer *w, uint64_t x, size_t bytes);
void gguf_string(struct gguf_writer *w, const char *text, size_t n);

/* One metadata value each. */
void gguf_key(struct gguf_writer *w, const char *key, enum dhole__gguf_type type);
void gguf_u32(struct gguf_writer *w, const char *key, uint32_t x);
void gguf_f32(struct gguf_writer *w, const char *key, float x);
void gguf_bool(struct gguf_writer *w, const char *key, int x);
void gguf_text(struct gguf_writer *w, const char *key, const char *text);
void gguf_texts(struct gguf_writer *w, const char *key, const char *const *text, size_t n);
void gguf_i32s(struct gguf_writer *w, const char *key, const int32_t *x, size_t n);

/* A tensor behind the last one; n1 = 0 makes it one-dimensional. Returned to be spoilt. */
struct gguf_tensor *gguf_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint64_t n0,
                                uint64_t n1);

/* Writes the counts, the tensor list and data of zeros, but for a byte 1 at the end. */
void gguf_finish(struct gguf_writer *w);

/* What gguf_llama writes. */
enum {
    tiny_hidden = 32,
    tiny_heads = 4,
    tiny_kv_heads = 2,
    tiny_ffn = 64,
    tiny_layers = 2,
    tiny_context = 128
};

/* Values and tensors of a small Llama with a tokenizer, except what w->skip lists. */
void gguf_llama(struct gguf_writer *w);

/* Its tokens: a letter for each of the 256 bytes, then these. */
enum {
    tiny_he = 256, /* he, ll, hell, hello, Gh, Ghello, 12 (G: the space's letter) */
    tiny_hello = 259,
    tiny_space_hello = 261,
    tiny_twelve,
    tiny_user_defined, /* user-defined: a tab and a space */
    tiny_end_of_text,  /* control: <|endoftext|> */
    tiny_start,        /* control: <|im_start|> */
    tiny_end,          /* control: <|im_end|> */
    tiny_end_of_all,   /* control: <|im_end|><|im_end|> */
    tiny_vocab
};

/* Starts the tiny model without what `skip` lists (NULL: whole); the test adds its own. */
void gguf_tiny_start(struct gguf_writer *w, const char *skip);

/* The same, finished. */
void gguf_tiny(struct gguf_writer *w, const char *skip);

#endif
