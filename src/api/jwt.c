/* jwt: parsing and checking; the cryptography is OpenSSL's. */
#include "api/jwt.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HMAC_SIZE = 32,
    SECRET_MIN = 32,
    KEY_FILE_MAX = 16384,
    SIGNATURE_MAX = 1024,
    ES256_HALF = 32,
    DER_MAX = 80,
    KNOWN_HEADER_MAX = 256
};

struct jwt {
    const struct config *config;
    EVP_MAC_CTX *mac; /* HS256, keyed */
    EVP_PKEY *key;    /* the others' public key */
    EVP_MD_CTX *verifier;
    char known_header[KNOWN_HEADER_MAX]; /* as in the last token with a good signature, still encoded */
    size_t known_length;                 /* 0: none yet */
};

/* ---- keys ---- */

static bool open_hmac(struct jwt *jwt, const unsigned char *secret, size_t length, const char *path, char *message)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    while (length > 0 && (secret[length - 1] == '\n' || secret[length - 1] == '\r'))
        length--; /* a text file's last line end is not part of the secret */
    if (length < SECRET_MIN) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "jwt_key_file: the secret in %s has %zu bytes; HS256 needs at least %d",
                 path, length, SECRET_MIN);
        return false;
    }
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    jwt->mac = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac);
    if (!jwt->mac || !EVP_MAC_init(jwt->mac, secret, length, params)) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "jwt_key_file: OpenSSL cannot use the secret in %s", path);
        return false;
    }
    return true;
}

static bool fits_algorithm(const char *algorithm, const EVP_PKEY *key)
{
    if (strcmp(algorithm, "RS256") == 0)
        return EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= 2048;
    if (strcmp(algorithm, "ES256") == 0)
        return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_bits(key) == 256;
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
}

static bool open_public_key(struct jwt *jwt, const char *pem, size_t length, const char *path, char *message)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)length);
    jwt->key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (!jwt->key || !fits_algorithm(jwt->config->jwt_algorithm, jwt->key)) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "jwt_key_file: %s is not a PEM public key that fits %s", path,
                 jwt->config->jwt_algorithm);
        return false;
    }
    jwt->verifier = EVP_MD_CTX_new();
    return jwt->verifier != NULL;
}

struct jwt *jwt_open(const struct config *config, char *message)
{
    unsigned char text[KEY_FILE_MAX];
    FILE *file = fopen(config->jwt_key_file, "re");
    if (!file) {
        snprintf(message, CONFIG_MESSAGE_SIZE, "jwt_key_file: cannot read %s: %s", config->jwt_key_file,
                 strerror(errno));
        return NULL;
    }
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);

    struct jwt *jwt = calloc(1, sizeof *jwt);
    bool good = false;
    if (!jwt)
        snprintf(message, CONFIG_MESSAGE_SIZE, "out of memory");
    else {
        jwt->config = config;
        good = strcmp(config->jwt_algorithm, "HS256") == 0
                   ? open_hmac(jwt, text, length, config->jwt_key_file, message)
                   : open_public_key(jwt, (const char *)text, length, config->jwt_key_file, message);
    }
    OPENSSL_cleanse(text, sizeof text);
    if (!good) {
        jwt_close(jwt);
        return NULL;
    }
    return jwt;
}

void jwt_close(struct jwt *jwt)
{
    if (!jwt)
        return;
    EVP_MAC_CTX_free(jwt->mac);
    EVP_PKEY_free(jwt->key);
    EVP_MD_CTX_free(jwt->verifier);
    free(jwt);
}

/* ---- signatures ---- */

static bool make_hmac(struct jwt *jwt, const char *text, size_t length, unsigned char mac[static HMAC_SIZE])
{
    size_t size = 0;
    return EVP_MAC_init(jwt->mac, NULL, 0, NULL) && EVP_MAC_update(jwt->mac, (const unsigned char *)text, length) &&
           EVP_MAC_final(jwt->mac, mac, &size, HMAC_SIZE) && size == HMAC_SIZE;
}

/* ES256 signatures are r and s side by side (RFC 7518 section 3.4); OpenSSL wants them in DER. */
static size_t es256_to_der(const unsigned char *raw, unsigned char der[static DER_MAX])
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, ES256_HALF, NULL), *s = BN_bin2bn(raw + ES256_HALF, ES256_HALF, NULL);
    int length = -1;
    if (signature && r && s && ECDSA_SIG_set0(signature, r, s)) {
        unsigned char *end = der;
        if (i2d_ECDSA_SIG(signature, NULL) <= DER_MAX)
            length = i2d_ECDSA_SIG(signature, &end);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(signature);
    return length > 0 ? (size_t)length : 0;
}

static bool check_public(struct jwt *jwt, const char *text, size_t length, const unsigned char *signature, size_t size)
{
    unsigned char der[DER_MAX];
    const char *algorithm = jwt->config->jwt_algorithm;
    if (strcmp(algorithm, "ES256") == 0) {
        if (size != (size_t)2 * ES256_HALF)
            return false;
        size = es256_to_der(signature, der);
        signature = der;
    }
    const EVP_MD *digest = strcmp(algorithm, "EdDSA") == 0 ? NULL : EVP_sha256();
    bool good = size > 0 && EVP_MD_CTX_reset(jwt->verifier) &&
                EVP_DigestVerifyInit(jwt->verifier, NULL, digest, NULL, jwt->key) == 1 &&
                EVP_DigestVerify(jwt->verifier, signature, size, (const unsigned char *)text, length) == 1;
    return good;
}

static bool check_signature(struct jwt *jwt, const char *text, size_t length, const char *encoded)
{
    unsigned char signature[SIGNATURE_MAX], mac[HMAC_SIZE];
    size_t size = 0;
    if (!base64url_decode(encoded, strlen(encoded), signature, sizeof signature, &size))
        return false;
    if (!jwt->mac)
        return check_public(jwt, text, length, signature, size);
    return size == HMAC_SIZE && make_hmac(jwt, text, length, mac) && CRYPTO_memcmp(mac, signature, HMAC_SIZE) == 0;
}

/* ---- header and claims ---- */

static struct json_object *decode_part(struct arena *arena, const char *text, size_t length)
{
    struct json_object *object;
    size_t size = 0;
    char *json = arena_alloc(arena, length + 1);
    if (!base64url_decode(text, length, json, length, &size) || json_parse(arena, json, size, &object) != OK)
        return NULL;
    return object;
}

static bool member_is(struct json_object *object, const char *name, const char *wanted)
{
    const char *text;
    size_t length;
    return json_get_string(object, name, &text, &length) == JSON_FOUND && length == strlen(wanted) &&
           memcmp(text, wanted, length) == 0;
}

static bool header_fits(const struct jwt *jwt, struct json_object *header)
{
    return member_is(header, "alg", jwt->config->jwt_algorithm) && !json_object_object_get_ex(header, "crit", NULL);
}

/* The issuer's tokens all begin with the same text. What was accepted once is accepted again without reading it:
 * whether a header fits depends on nothing but its text. Only a token with a good signature is remembered, so that
 * nobody else's take the one place. */
static bool is_known_header(const struct jwt *jwt, const char *text, size_t length)
{
    return length > 0 && length == jwt->known_length && memcmp(text, jwt->known_header, length) == 0;
}

static void remember_header(struct jwt *jwt, const char *text, size_t length)
{
    if (length > sizeof jwt->known_header)
        return;
    memcpy(jwt->known_header, text, length);
    jwt->known_length = length;
}

/* aud is one text or an array of them (RFC 7519 section 4.1.3). */
static bool audience_fits(struct json_object *claims, const char *wanted)
{
    struct json_object *audience;
    if (member_is(claims, "aud", wanted))
        return true;
    if (!json_object_object_get_ex(claims, "aud", &audience) || !json_object_is_type(audience, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(audience); i++) {
        struct json_object *one = json_object_array_get_idx(audience, i);
        if (json_object_is_type(one, json_type_string) && (size_t)json_object_get_string_len(one) == strlen(wanted) &&
            memcmp(json_object_get_string(one), wanted, strlen(wanted)) == 0)
            return true;
    }
    return false;
}

static bool claims_fit(const struct jwt *jwt, struct json_object *claims, int64_t *user, const char **why)
{
    const struct config *config = jwt->config;
    int64_t now = clock_now() / CLOCK_SECOND, time;
    const char *subject;
    size_t length;

    if (json_get_int(claims, "exp", 0, INT64_MAX, &time) != JSON_FOUND)
        *why = "the token has no usable exp";
    else if (time <= now)
        *why = "the token has expired";
    else if (json_get_int(claims, "nbf", INT64_MIN, now, &time) > JSON_MISSING)
        *why = "the token is not valid yet";
    else if (*config->jwt_issuer && !member_is(claims, "iss", config->jwt_issuer))
        *why = "the token is of another issuer";
    else if (*config->jwt_audience && !audience_fits(claims, config->jwt_audience))
        *why = "the token is for another audience";
    else if (json_get_string(claims, "sub", &subject, &length) != JSON_FOUND ||
             !decimal_parse(subject, length, 1, INT64_MAX, user))
        *why = "sub is not a user id";
    else
        return true;
    return false;
}

bool jwt_verify(struct jwt *jwt, struct arena *arena, const char *token, int64_t *user, const char **why)
{
    const char *first = strchr(token, '.');
    const char *second = first ? strchr(first + 1, '.') : NULL;
    *why = "the token is not a JWT";
    if (strlen(token) > JWT_LENGTH_MAX || !second)
        return false;
    size_t header_length = (size_t)(first - token);
    if (!is_known_header(jwt, token, header_length)) {
        struct json_object *header = decode_part(arena, token, header_length);
        if (!header)
            return false;
        if (!header_fits(jwt, header)) {
            *why = "the token's algorithm is not accepted";
            return false;
        }
    }
    if (!check_signature(jwt, token, (size_t)(second - token), second + 1)) {
        *why = "the token's signature is wrong";
        return false;
    }
    remember_header(jwt, token, header_length);
    struct json_object *claims = decode_part(arena, first + 1, (size_t)(second - first - 1));
    return claims && claims_fit(jwt, claims, user, why);
}

/* ---- minting, for tests and demos ---- */

static void put_base64url(struct buf *out, const void *bytes, size_t length)
{
    base64url_encode(bytes, length, buf_reserve(out, base64url_size(length) + 1));
    buf_wrote(out, base64url_size(length));
}

char *jwt_mint(struct jwt *jwt, struct arena *arena, int64_t user, int64_t expires)
{
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    unsigned char mac[HMAC_SIZE];
    struct buf claims, token;
    if (!jwt->mac)
        return NULL;
    buf_init(&claims, arena, 256);
    buf_printf(&claims, "{\"sub\":\"%" PRId64 "\",\"exp\":%" PRId64, user, expires);
    if (*jwt->config->jwt_issuer) {
        buf_puts(&claims, ",\"iss\":");
        json_put_string(&claims, jwt->config->jwt_issuer);
    }
    if (*jwt->config->jwt_audience) {
        buf_puts(&claims, ",\"aud\":");
        json_put_string(&claims, jwt->config->jwt_audience);
    }
    buf_putc(&claims, '}');

    buf_init(&token, arena, 512);
    put_base64url(&token, header, sizeof header - 1);
    buf_putc(&token, '.');
    put_base64url(&token, claims.data, claims.length);
    if (!make_hmac(jwt, token.data, token.length, mac))
        return NULL;
    buf_putc(&token, '.');
    put_base64url(&token, mac, sizeof mac);
    return token.data;
}
