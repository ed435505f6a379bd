/* A bare loop of AES-256-GCM records over TCP: ciphertext and tag and nothing else, as both sides
 * know how long they are. What a sealed stream can be at best, with the same cipher and waits. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"
#include "cli/bench_wire.h"
#include "seal/ossl.h"

enum { tag_size = 16, nonce_size = 12 };

struct records_wire {
    struct dhole__wire base;
    struct dhole__wire *tcp;
    EVP_CIPHER_CTX *seal, *open;
    uint64_t sealed, opened;
    uint8_t record[]; /* dhole__wire_record, and a tag */
};

static bool begin(EVP_CIPHER_CTX *cipher, uint64_t *number)
{
    uint8_t nonce[nonce_size] = {0};

    memcpy(nonce, number, sizeof *number);
    (*number)++;
    return EVP_CipherInit_ex2(cipher, NULL, NULL, nonce, -1, NULL) == 1;
}

static bool seal_record(struct records_wire *wire, const uint8_t *data, size_t size)
{
    uint8_t *tag = wire->record + size;
    int n;

    return begin(wire->seal, &wire->sealed) &&
           EVP_CipherUpdate(wire->seal, wire->record, &n, data, (int)size) == 1 &&
           EVP_CipherFinal_ex(wire->seal, tag, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(wire->seal, EVP_CTRL_AEAD_GET_TAG, tag_size, tag) == 1;
}

static bool open_record(struct records_wire *wire, uint8_t *data, size_t size)
{
    uint8_t *tag = wire->record + size;
    int n;

    return begin(wire->open, &wire->opened) &&
           EVP_CipherUpdate(wire->open, data, &n, wire->record, (int)size) == 1 &&
           EVP_CIPHER_CTX_ctrl(wire->open, EVP_CTRL_AEAD_SET_TAG, tag_size, tag) == 1 &&
           EVP_CipherFinal_ex(wire->open, tag, &n) == 1;
}

static size_t next_record(size_t left)
{
    return left < dhole__wire_record ? left : dhole__wire_record;
}

static dhole_err records_send(struct dhole__wire *base, const void *data, size_t size)
{
    struct records_wire *wire = (struct records_wire *)base;
    const uint8_t *at = data, *end = at + size;
    dhole_err err = DHOLE_OK;

    while (at < end && !err) {
        size_t length = next_record((size_t)(end - at));
        if (!seal_record(wire, at, length))
            return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot seal a record");
        err = wire->tcp->ops->send(wire->tcp, wire->record, length + tag_size);
        at += length;
    }
    return err;
}

static dhole_err records_recv(struct dhole__wire *base, void *data, size_t size)
{
    struct records_wire *wire = (struct records_wire *)base;
    uint8_t *at = data, *end = at + size;

    while (at < end) {
        size_t length = next_record((size_t)(end - at));
        dhole_err err = wire->tcp->ops->recv(wire->tcp, wire->record, length + tag_size);
        if (err)
            return err;
        if (!open_record(wire, at, length))
            return dhole__fail_ossl(DHOLE_ERR_AUTH, "cannot open a record");
        at += length;
    }
    return DHOLE_OK;
}

static void records_close(struct dhole__wire *base)
{
    struct records_wire *wire = (struct records_wire *)base;

    dhole__wire_close(wire->tcp);
    EVP_CIPHER_CTX_free(wire->seal);
    EVP_CIPHER_CTX_free(wire->open);
    free(wire);
}

static const struct dhole__wire_ops records_ops = {records_send, records_recv, records_close};

/* Nothing here is a secret. */
static bool make_cipher(bool seals, EVP_CIPHER_CTX **out)
{
    static const uint8_t key[32] = {1};

    *out = EVP_CIPHER_CTX_new();
    return *out != NULL && EVP_CipherInit_ex2(*out, EVP_aes_256_gcm(), key, NULL, seals, NULL) == 1;
}

dhole_err dhole__wire_records(int fd, int cancel_fd, struct dhole__wire **out)
{
    struct records_wire *wire;
    struct dhole__wire *tcp;
    dhole_err err = dhole__wire_tcp(fd, cancel_fd, &tcp);

    if (err)
        return err;
    wire = dhole__sys.calloc(1, sizeof *wire + dhole__wire_record + tag_size);
    if (wire == NULL) {
        dhole__wire_close(tcp);
        return dhole__fail_nomem(sizeof *wire + dhole__wire_record, "a record of the benchmark");
    }
    wire->base.ops = &records_ops;
    wire->tcp = tcp;
    if (!make_cipher(true, &wire->seal) || !make_cipher(false, &wire->open)) {
        records_close(&wire->base);
        return dhole__fail_ossl(DHOLE_ERR_SYSTEM, "cannot make a cipher");
    }
    *out = &wire->base;
    return DHOLE_OK;
}
