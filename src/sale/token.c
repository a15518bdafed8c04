/* token: AES-256 in one block for queue tokens, HMAC-SHA-256 for cursors; keys derived from the one secret. */
#include "sale/token.h"

#include "base/encode.h"
#include "base/log.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SIZE = 32, BLOCK = 16, SECRET_MIN = 16, SECRET_MAX = 4096, CURSOR_BODY = 10, CURSOR_MAC = 14 };

/* Ticket numbers stay far below this, so most made-up tokens are refused without a look at the line. */
#define TICKET_MAX (INT64_C(1) << 48)

struct token_key {
    EVP_CIPHER_CTX *encrypt, *decrypt;
    unsigned char cursor_key[KEY_SIZE];
};

static void crypto_failed(void)
{
    log_error("OpenSSL failed");
    abort();
}

static void derive(const unsigned char *secret, size_t length, const char *purpose, unsigned char key[static KEY_SIZE])
{
    if (!HMAC(EVP_sha256(), secret, (int)length, (const unsigned char *)purpose, strlen(purpose), key, NULL))
        crypto_failed();
}

static EVP_CIPHER_CTX *new_cipher(const unsigned char key[static KEY_SIZE], int encrypt)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    if (!cipher || !EVP_CipherInit_ex(cipher, EVP_aes_256_ecb(), NULL, key, NULL, encrypt) ||
        !EVP_CIPHER_CTX_set_padding(cipher, 0))
        crypto_failed();
    return cipher;
}

static bool read_secret(const char *path, unsigned char secret[static SECRET_MAX], size_t *length, char *message)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "queue_key_file: cannot read %s: %s", path, strerror(errno));
        return false;
    }
    *length = fread(secret, 1, SECRET_MAX, file);
    fclose(file);
    if (*length < SECRET_MIN) {
        snprintf(message, CONFIG_MESSAGE_SIZE,
                 "queue_key_file: %s has %zu bytes and needs at least %d random ones (head -c 32 /dev/urandom)", path,
                 *length, SECRET_MIN);
        return false;
    }
    return true;
}

struct token_key *token_key_read(const char *path, char *message)
{
    unsigned char secret[SECRET_MAX], derived[KEY_SIZE];
    size_t length = 0;
    if (!read_secret(path, secret, &length, message))
        return NULL;

    struct token_key *key = calloc(1, sizeof *key);
    if (!key)
        crypto_failed();
    derive(secret, length, "usher queue token", derived);
    key->encrypt = new_cipher(derived, 1);
    key->decrypt = new_cipher(derived, 0);
    derive(secret, length, "usher cursor", key->cursor_key);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(derived, sizeof derived);
    return key;
}

void token_key_free(struct token_key *key)
{
    if (!key)
        return;
    EVP_CIPHER_CTX_free(key->encrypt);
    EVP_CIPHER_CTX_free(key->decrypt);
    OPENSSL_cleanse(key, sizeof *key);
    free(key);
}

static void put_int64(unsigned char *out, int64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)((uint64_t)value >> (56 - 8 * i));
}

static int64_t get_int64(const unsigned char *in)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | in[i];
    return (int64_t)value;
}

static void crypt_block(EVP_CIPHER_CTX *cipher, const unsigned char in[static BLOCK], unsigned char out[static BLOCK])
{
    int length = 0;
    if (!EVP_CipherUpdate(cipher, out, &length, in, BLOCK) || length != BLOCK)
        crypto_failed();
}

void token_make(struct token_key *key, const struct pass *pass, char token[static TOKEN_SIZE])
{
    unsigned char plain[BLOCK], block[BLOCK];
    put_int64(plain, pass->user);
    put_int64(plain + 8, pass->ticket);
    crypt_block(key->encrypt, plain, block);
    base64url_encode(block, BLOCK, token);
}

bool token_read(struct token_key *key, const char *token, struct pass *pass)
{
    unsigned char plain[BLOCK], block[BLOCK];
    size_t length = 0;
    if (strlen(token) != TOKEN_SIZE - 1 || !base64url_decode(token, TOKEN_SIZE - 1, block, BLOCK, &length) ||
        length != BLOCK)
        return false;
    crypt_block(key->decrypt, block, plain);
    pass->user = get_int64(plain);
    pass->ticket = get_int64(plain + 8);
    return pass->user > 0 && pass->ticket > 0 && pass->ticket < TICKET_MAX;
}

static void cursor_mac(struct token_key *key, const unsigned char body[static CURSOR_BODY], int64_t owner,
                       unsigned char mac[static CURSOR_MAC])
{
    unsigned char text[CURSOR_BODY + 8], full[EVP_MAX_MD_SIZE];
    memcpy(text, body, CURSOR_BODY);
    put_int64(text + CURSOR_BODY, owner);
    if (!HMAC(EVP_sha256(), key->cursor_key, KEY_SIZE, text, sizeof text, full, NULL))
        crypto_failed();
    memcpy(mac, full, CURSOR_MAC);
}

void cursor_make(struct token_key *key, const struct cursor *cursor, int64_t owner, char text[static CURSOR_SIZE])
{
    unsigned char bytes[CURSOR_BODY + CURSOR_MAC];
    bytes[0] = cursor->list;
    bytes[1] = cursor->depth;
    put_int64(bytes + 2, cursor->id);
    cursor_mac(key, bytes, owner, bytes + CURSOR_BODY);
    base64url_encode(bytes, sizeof bytes, text);
}

bool cursor_read(struct token_key *key, const char *text, int64_t owner, struct cursor *cursor)
{
    unsigned char bytes[CURSOR_BODY + CURSOR_MAC], mac[CURSOR_MAC];
    size_t length = 0;
    if (!base64url_decode(text, strlen(text), bytes, sizeof bytes, &length) || length != sizeof bytes)
        return false;
    cursor_mac(key, bytes, owner, mac);
    if (CRYPTO_memcmp(mac, bytes + CURSOR_BODY, CURSOR_MAC) != 0 || bytes[0] != cursor->list)
        return false;
    cursor->depth = bytes[1];
    cursor->id = get_int64(bytes + 2);
    return true;
}
