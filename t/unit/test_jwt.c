/* jwt: the one configured algorithm with the right key lets in, and nothing else does. Keys are made here. */
#include "office.h"

#include "base/encode.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct office office;
static const char *why;

static void set_up(void)
{
    office_open(&office);
}

static void tear_down(void)
{
    office_close(&office);
}

TestSuite(jwt, .init = set_up, .fini = tear_down);

/* ---- making tokens ---- */

static const char *encode(const void *bytes, size_t length)
{
    char *text = arena_alloc(office.arena, base64url_size(length) + 1);
    base64url_encode(bytes, length, text);
    return text;
}

static const char *signed_part(const char *header, const char *claims)
{
    return arena_printf(office.arena, "%s.%s", encode(header, strlen(header)), encode(claims, strlen(claims)));
}

static const char *hmac_token(const char *header, const char *claims, const void *secret, size_t length)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    const char *text = signed_part(header, claims);
    cr_assert_not_null(HMAC(EVP_sha256(), secret, (int)length, (const unsigned char *)text, strlen(text), mac, &size));
    return arena_printf(office.arena, "%s.%s", text, encode(mac, size));
}

static const char *claims_with(const char *more)
{
    return arena_printf(office.arena, "{\"sub\":\"7\",\"exp\":%" PRId64 "%s}", (int64_t)time(NULL) + 60, more);
}

#define HS256_HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

static const char *token_of(const char *header, const char *claims)
{
    return hmac_token(header, claims, OFFICE_SECRET, strlen(OFFICE_SECRET));
}

static bool accepts(struct jwt *jwt, const char *token)
{
    int64_t user = -1;
    why = "";
    bool good = jwt_verify(jwt, office.arena, token, &user, &why);
    cr_assert(!good || user == 7, "%" PRId64, user);
    return good;
}

static void expect_claims(bool good, const char *claims, const char *reason)
{
    cr_assert_eq(accepts(office.api->jwt, token_of(HS256_HEADER, claims)), good, "%s: %s", claims, why);
    if (!good)
        cr_assert_str_eq(why, reason, "%s", claims);
}

static struct jwt *open_with(struct config *config, const char *algorithm, const char *path, char *message)
{
    config_init(config);
    cr_assert(config_set(config, "jwt_algorithm", algorithm, "test", message));
    cr_assert(config_set(config, "jwt_key_file", path, "test", message));
    return jwt_open(config, message);
}

/* ---- HS256 ---- */

Test(jwt, minted_tokens_are_accepted)
{
    for (int i = 0; i < 3; i++) {
        int64_t user = 0, wanted = (int64_t[]){1, 4711, INT64_MAX}[i];
        char *token = jwt_mint(office.api->jwt, office.arena, wanted, time(NULL) + 60);
        cr_assert(jwt_verify(office.api->jwt, office.arena, token, &user, &why), "%s", why);
        cr_assert_eq(user, wanted);
    }
}

Test(jwt, a_changed_character_anywhere)
{
    char *token = jwt_mint(office.api->jwt, office.arena, 7, time(NULL) + 60);
    cr_assert(accepts(office.api->jwt, token), "%s", why);
    for (size_t i = 0; i < strlen(token); i++) {
        char *changed = arena_strdup(office.arena, token);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        cr_assert_not(accepts(office.api->jwt, changed), "character %zu", i);
    }
    for (size_t length = 0; length < strlen(token); length++)
        cr_assert_not(accepts(office.api->jwt, arena_strndup(office.arena, token, length)), "cut at %zu", length);
}

Test(jwt, other_secrets)
{
    static const char *const secrets[] = {"", "a secret of the unit tests, 32 bytes and mor",
                                          "a secret of the unit tests, 32 bytes and more\n",
                                          "A secret of the unit tests, 32 bytes and more"};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_not(
            accepts(office.api->jwt, hmac_token(HS256_HEADER, claims_with(""), secrets[i], strlen(secrets[i]))));
        cr_assert_str_eq(why, "the token's signature is wrong");
    }
}

Test(jwt, the_secret_without_its_line_end)
{
    struct config config;
    char message[CONFIG_MESSAGE_SIZE] = "";
    const char *path = office_file(&office, "line.key", OFFICE_SECRET "\r\n", strlen(OFFICE_SECRET) + 2);
    struct jwt *jwt = open_with(&config, "HS256", path, message);
    cr_assert_not_null(jwt, "%s", message);
    cr_assert(accepts(jwt, token_of(HS256_HEADER, claims_with(""))), "%s", why);
    jwt_close(jwt);
    config_free(&config);
}

Test(jwt, algorithms)
{
    static const char *const headers[] = {
        "{}",
        "{\"alg\":\"none\"}",
        "{\"alg\":\"None\"}",
        "{\"alg\":\"NONE\"}",
        "{\"alg\":\"\"}",
        "{\"alg\":null}",
        "{\"alg\":1}",
        "{\"alg\":[\"HS256\"]}",
        "{\"alg\":\"hs256\"}",
        "{\"alg\":\"HS256 \"}",
        "{\"alg\":\"HS384\"}",
        "{\"alg\":\"HS512\"}",
        "{\"alg\":\"RS256\"}",
        "{\"alg\":\"ES256\"}",
        "{\"alg\":\"EdDSA\"}",
        "{\"Alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}",
        "{\"alg\":\"HS256\",\"crit\":null}",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        cr_assert_not(accepts(office.api->jwt, token_of(headers[i], claims_with(""))), "%s", headers[i]);
        cr_assert_str_eq(why, "the token's algorithm is not accepted", "%s", headers[i]);
    }
    const char *none = signed_part("{\"alg\":\"none\"}", claims_with(""));
    cr_assert_not(accepts(office.api->jwt, arena_printf(office.arena, "%s.", none)));
    cr_assert_not(accepts(office.api->jwt, none));
    const char *unsigned_token = signed_part(HS256_HEADER, claims_with(""));
    cr_assert_not(accepts(office.api->jwt, arena_printf(office.arena, "%s.", unsigned_token)));
    /* What a header may have besides is not looked at: in particular no key is ever taken from the token. */
    cr_assert(
        accepts(office.api->jwt,
                token_of("{\"alg\":\"HS256\",\"kid\":\"../../etc/passwd\",\"jku\":\"http://x/\"}", claims_with(""))));
}

/* Before any token was accepted, and when headers are known. */
Test(jwt, a_known_header)
{
    static const char *const others[] = {"", "{\"alg\":\"HS512\",\"typ\":\"JWT\"}",
                                         "{\"alg\":\"HS256\",\"typ\":\"JWT\""};
    static const char other_secret[] = "another secret of at least 32 bytes";
    const char *claims = claims_with("");
    const char *known[] = {HS256_HEADER, arena_printf(office.arena, "{\"alg\":\"HS256\",\"kid\":\"%0300d\"}", 1)};
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            cr_assert_not(accepts(office.api->jwt, token_of(others[i], claims)), "%d: %s", round, others[i]);
        for (size_t i = 0; i < 2; i++)
            cr_assert_not(
                accepts(office.api->jwt, hmac_token(known[i], claims, other_secret, sizeof other_secret - 1)));
        cr_assert(accepts(office.api->jwt, token_of(known[round % 2], claims)), "%d: %s", round, why);
    }
}

Test(jwt, texts_that_are_no_tokens)
{
    static const char *const texts[] = {"",
                                        ".",
                                        "..",
                                        "...",
                                        "a",
                                        "a.b",
                                        "a.b.c",
                                        "a.b.c.d",
                                        " ",
                                        "null",
                                        "{}",
                                        "=.=.=",
                                        "eyJhbGciOiJIUzI1NiJ9..",
                                        ".e30.",
                                        "..AAAA",
                                        "eyJhbGciOiJIUzI1NiJ9=.e30=.AAAA",
                                        "\xff\xfe.\xff.\xff",
                                        "e30.e30.e30",
                                        "eyJhbGciOiJIUzI1NiJ9 .e30.AAAA",
                                        "bnVsbA.e30.AAAA" /* null */,
                                        "W10.e30.AAAA" /* [] */};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_assert_not(accepts(office.api->jwt, texts[i]), "%s", texts[i]);

    const char *good = token_of(HS256_HEADER, claims_with(""));
    const char *const around[] = {" %s", "%s ", "%s\n", "%s=", "%s.", "%s.AAAA", ".%s", "%s%%00"};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        struct buf text;
        const char *place = strstr(around[i], "%s");
        buf_init(&text, office.arena, 512);
        buf_add(&text, around[i], (size_t)(place - around[i]));
        buf_puts(&text, good);
        buf_puts(&text, place + 2);
        cr_assert_not(accepts(office.api->jwt, text.data), "%s", around[i]);
    }
}

Test(jwt, claims_that_are_no_object)
{
    static const char *const claims[] = {"",           "null", "[]", "7", "\"sub\"", "{", "{}}", "{\"sub\":\"7\",}",
                                         "{'sub':'7'}"};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++)
        expect_claims(false, claims[i], "the token is not a JWT");
    expect_claims(
        false,
        arena_printf(office.arena, "{\"sub\":\"8\",\"sub\":\"7\",\"exp\":%" PRId64 "}", (int64_t)time(NULL) + 60),
        "the token is not a JWT");
}

Test(jwt, size)
{
    for (size_t length = JWT_LENGTH_MAX - 2; length <= JWT_LENGTH_MAX + 2; length++) {
        /* Padding in the claims until the token is as long as wanted: four characters for three bytes. */
        char *filling = arena_alloc(office.arena, length);
        for (size_t fill = length * 3 / 4 - 200; fill < length; fill++) {
            memset(filling, 'x', fill);
            filling[fill] = '\0';
            const char *token =
                token_of(HS256_HEADER, claims_with(arena_printf(office.arena, ",\"x\":\"%s\"", filling)));
            if (strlen(token) < length)
                continue;
            cr_assert_eq(accepts(office.api->jwt, token), strlen(token) <= JWT_LENGTH_MAX, "%zu", strlen(token));
            break;
        }
    }
    char *huge = arena_alloc(office.arena, 1000001);
    memset(huge, 'A', 1000000);
    huge[1000000] = '\0';
    huge[100] = huge[200] = '.';
    cr_assert_not(accepts(office.api->jwt, huge));
}

/* ---- claims ---- */

static const char *claims(const char *format, int64_t time)
{
    struct buf text;
    const char *place = strstr(format, "@");
    buf_init(&text, office.arena, 256);
    buf_add(&text, format, (size_t)(place - format));
    buf_put_int(&text, time);
    buf_puts(&text, place + 1);
    return text.data;
}

Test(jwt, expiry)
{
    int64_t now = time(NULL);
    expect_claims(true, claims("{\"sub\":\"7\",\"exp\":@}", now + 30), "");
    expect_claims(true, claims("{\"sub\":\"7\",\"exp\":@}", INT64_MAX), "");
    expect_claims(false, claims("{\"sub\":\"7\",\"exp\":@}", now), "the token has expired");
    expect_claims(false, claims("{\"sub\":\"7\",\"exp\":@}", now - 1), "the token has expired");
    expect_claims(false, claims("{\"sub\":\"7\",\"exp\":@}", 0), "the token has expired");
    static const char *const unusable[] = {"{\"sub\":\"7\"}",
                                           "{\"sub\":\"7\",\"exp\":null}",
                                           "{\"sub\":\"7\",\"exp\":true}",
                                           "{\"sub\":\"7\",\"exp\":\"9999999999\"}",
                                           "{\"sub\":\"7\",\"exp\":9999999999.5}",
                                           "{\"sub\":\"7\",\"exp\":1e12}",
                                           "{\"sub\":\"7\",\"exp\":-1}",
                                           "{\"sub\":\"7\",\"exp\":9223372036854775808}",
                                           "{\"sub\":\"7\",\"EXP\":9999999999}"};
    for (size_t i = 0; i < sizeof unusable / sizeof *unusable; i++)
        expect_claims(false, unusable[i], "the token has no usable exp");
}

Test(jwt, not_before)
{
    int64_t now = time(NULL);
    expect_claims(true, claims("{\"sub\":\"7\",\"exp\":9999999999,\"nbf\":@}", now), "");
    expect_claims(true, claims("{\"sub\":\"7\",\"exp\":9999999999,\"nbf\":@}", 0), "");
    expect_claims(false, claims("{\"sub\":\"7\",\"exp\":9999999999,\"nbf\":@}", now + 30),
                  "the token is not valid yet");
    expect_claims(false, "{\"sub\":\"7\",\"exp\":9999999999,\"nbf\":\"0\"}", "the token is not valid yet");
    expect_claims(false, "{\"sub\":\"7\",\"exp\":9999999999,\"nbf\":9223372036854775808}",
                  "the token is not valid yet");
}

Test(jwt, subject)
{
    expect_claims(true, "{\"sub\":\"7\",\"exp\":9999999999}", "");
    static const char *const bad[] = {"{\"exp\":9999999999}",
                                      "{\"sub\":7,\"exp\":9999999999}",
                                      "{\"sub\":\"\",\"exp\":9999999999}",
                                      "{\"sub\":\"0\",\"exp\":9999999999}",
                                      "{\"sub\":\"-7\",\"exp\":9999999999}",
                                      "{\"sub\":\"+7\",\"exp\":9999999999}",
                                      "{\"sub\":\"07\",\"exp\":9999999999}",
                                      "{\"sub\":\" 7\",\"exp\":9999999999}",
                                      "{\"sub\":\"7.0\",\"exp\":9999999999}",
                                      "{\"sub\":\"7e0\",\"exp\":9999999999}",
                                      "{\"sub\":\"seven\",\"exp\":9999999999}",
                                      "{\"sub\":\"7 OR 1=1\",\"exp\":9999999999}",
                                      "{\"sub\":\"9223372036854775808\",\"exp\":9999999999}",
                                      "{\"sub\":[\"7\"],\"exp\":9999999999}",
                                      "{\"sub\":null,\"exp\":9999999999}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_claims(false, bad[i], "sub is not a user id");
}

Test(jwt, issuer_and_audience)
{
    char message[CONFIG_MESSAGE_SIZE];
    expect_claims(true, claims_with(",\"iss\":\"anybody\",\"aud\":[]"), "");
    cr_assert(config_set(&office.config, "jwt_issuer", "https://id.example", "test", message));
    expect_claims(true, claims_with(",\"iss\":\"https://id.example\""), "");
    static const char *const issuers[] = {"",
                                          ",\"iss\":\"\"",
                                          ",\"iss\":\"https://id.example/\"",
                                          ",\"iss\":null",
                                          ",\"iss\":[\"https://id.example\"]",
                                          ",\"iss\":\"HTTPS://id.example\""};
    for (size_t i = 0; i < sizeof issuers / sizeof *issuers; i++)
        expect_claims(false, claims_with(issuers[i]), "the token is of another issuer");

    cr_assert(config_set(&office.config, "jwt_issuer", "", "test", message));
    cr_assert(config_set(&office.config, "jwt_audience", "usher", "test", message));
    static const char *const audiences[] = {",\"aud\":\"usher\"", ",\"aud\":[\"usher\"]", ",\"aud\":[\"a\",\"usher\"]",
                                            ",\"aud\":[1,null,\"usher\"]"};
    for (size_t i = 0; i < sizeof audiences / sizeof *audiences; i++)
        expect_claims(true, claims_with(audiences[i]), "");
    static const char *const others[] = {"",
                                         ",\"aud\":\"\"",
                                         ",\"aud\":[]",
                                         ",\"aud\":\"usher2\"",
                                         ",\"aud\":[\"ushe\"]",
                                         ",\"aud\":null",
                                         ",\"aud\":{\"usher\":\"usher\"}",
                                         ",\"aud\":[[\"usher\"]]"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect_claims(false, claims_with(others[i]), "the token is for another audience");

    cr_assert(config_set(&office.config, "jwt_issuer", "a \"quoted\" issuer", "test", message));
    cr_assert(accepts(office.api->jwt, jwt_mint(office.api->jwt, office.arena, 7, time(NULL) + 60)), "%s", why);
}

/* ---- public keys ---- */

static const char *public_file(EVP_PKEY *key, const char *name, char **text, size_t *length)
{
    char *bytes = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    cr_assert_eq(PEM_write_bio_PUBKEY(bio, key), 1);
    *length = (size_t)BIO_get_mem_data(bio, &bytes);
    *text = arena_strndup(office.arena, bytes, *length);
    BIO_free(bio);
    return office_file(&office, name, *text, *length);
}

/* A signature as JWS wants it. */
static const char *public_token(EVP_PKEY *key, const char *algorithm, const char *payload)
{
    const char *text = signed_part(arena_printf(office.arena, "{\"alg\":\"%s\"}", algorithm), payload);
    unsigned char bytes[1024];
    size_t length = sizeof bytes;
    EVP_MD_CTX *signer = EVP_MD_CTX_new();
    const EVP_MD *digest = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
    cr_assert_eq(EVP_DigestSignInit(signer, NULL, digest, NULL, key), 1);
    cr_assert_eq(EVP_DigestSign(signer, bytes, &length, (const unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(signer);
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC) {
        const unsigned char *der = bytes;
        ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)length);
        unsigned char raw[64];
        cr_assert_eq(BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32), 32);
        cr_assert_eq(BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32), 32);
        memcpy(bytes, raw, length = sizeof raw);
        ECDSA_SIG_free(signature);
    }
    return arena_printf(office.arena, "%s.%s", text, encode(bytes, length));
}

static const char *with_signature(const char *token, const char *signature)
{
    const char *dot = strrchr(token, '.');
    return arena_printf(office.arena, "%.*s.%s", (int)(dot - token), token, signature);
}

static EVP_PKEY *make_key(const char *algorithm)
{
    if (strcmp(algorithm, "RS256") == 0)
        return EVP_RSA_gen(2048);
    return strcmp(algorithm, "ES256") == 0 ? EVP_EC_gen("P-256") : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

static void check_public(const char *algorithm)
{
    struct config config;
    char message[CONFIG_MESSAGE_SIZE] = "", *pem;
    size_t length;
    EVP_PKEY *key = make_key(algorithm), *other = make_key(algorithm);
    struct jwt *jwt = open_with(&config, algorithm, public_file(key, "public.pem", &pem, &length), message);
    cr_assert_not_null(jwt, "%s", message);

    const char *good = public_token(key, algorithm, claims_with(""));
    cr_assert(accepts(jwt, good), "%s", why);
    cr_assert(accepts(jwt, public_token(key, algorithm, claims_with(",\"a\":1"))), "the verifier can be used again");
    cr_assert_not(accepts(jwt, public_token(key, algorithm, "{\"sub\":\"7\",\"exp\":1}")));
    cr_assert_str_eq(why, "the token has expired");

    cr_assert_not(accepts(jwt, public_token(other, algorithm, claims_with(""))), "another key");
    cr_assert_str_eq(why, "the token's signature is wrong");
    cr_assert_not(accepts(jwt, with_signature(good, "")));
    cr_assert_not(accepts(jwt, with_signature(good, "AAAA")));
    unsigned char zeros[512] = {0};
    static const size_t sizes[] = {32, 63, 64, 65, 96, 256, 512};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        cr_assert_not(accepts(jwt, with_signature(good, encode(zeros, sizes[i]))), "%zu zeros", sizes[i]);
    unsigned char longer[1024] = {0};
    size_t size;
    cr_assert(base64url_decode(strrchr(good, '.') + 1, strlen(strrchr(good, '.') + 1), longer, sizeof longer, &size));
    cr_assert(accepts(jwt, with_signature(good, encode(longer, size))), "%s", why);
    cr_assert_not(accepts(jwt, with_signature(good, encode(longer, size + 1))), "a byte behind");
    cr_assert_not(accepts(jwt, with_signature(good, encode(longer, size - 1))), "a byte less");
    char *huge = arena_alloc(office.arena, 6001);
    memset(huge, 'A', 6000);
    huge[6000] = '\0';
    cr_assert_not(accepts(jwt, with_signature(good, huge)));
    cr_assert(accepts(jwt, good), "still, after all the wrong ones: %s", why);

    /* The public key is no secret: whoever signs with it as HS256 is nobody. */
    static const char *const confused[] = {"HS256", "none", ""};
    for (size_t i = 0; i < 3; i++) {
        const char *header = arena_printf(office.arena, "{\"alg\":\"%s\"}", confused[i]);
        cr_assert_not(accepts(jwt, hmac_token(header, claims_with(""), pem, length)), "%s", confused[i]);
        cr_assert_str_eq(why, "the token's algorithm is not accepted");
    }
    const char *own = arena_printf(office.arena, "{\"alg\":\"%s\"}", algorithm);
    cr_assert_not(accepts(jwt, hmac_token(own, claims_with(""), pem, length)));
    cr_assert_null(jwt_mint(jwt, office.arena, 7, time(NULL) + 60), "the private key is elsewhere");

    jwt_close(jwt);
    config_free(&config);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

Test(jwt, rs256)
{
    check_public("RS256");
}

Test(jwt, es256)
{
    check_public("ES256");
}

Test(jwt, eddsa)
{
    check_public("EdDSA");
}

/* ES256 in DER, as OpenSSL makes it, is not what JWS means. */
Test(jwt, es256_in_der)
{
    struct config config;
    char message[CONFIG_MESSAGE_SIZE] = "", *pem;
    size_t length, size = 128;
    unsigned char der[128];
    EVP_PKEY *key = make_key("ES256");
    struct jwt *jwt = open_with(&config, "ES256", public_file(key, "public.pem", &pem, &length), message);
    const char *text = signed_part("{\"alg\":\"ES256\"}", claims_with(""));
    EVP_MD_CTX *signer = EVP_MD_CTX_new();
    cr_assert_eq(EVP_DigestSignInit(signer, NULL, EVP_sha256(), NULL, key), 1);
    cr_assert_eq(EVP_DigestSign(signer, der, &size, (const unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(signer);
    cr_assert_not(accepts(jwt, arena_printf(office.arena, "%s.%s", text, encode(der, size))));
    jwt_close(jwt);
    config_free(&config);
    EVP_PKEY_free(key);
}

Test(jwt, keys_that_do_not_fit)
{
    static const char *const algorithms[] = {"RS256", "ES256", "EdDSA"};
    EVP_PKEY *keys[] = {make_key("RS256"), make_key("ES256"), make_key("EdDSA"), EVP_RSA_gen(1024),
                        EVP_EC_gen("P-384")};
    for (size_t a = 0; a < 3; a++) {
        for (size_t k = 0; k < 5; k++) {
            struct config config;
            char message[CONFIG_MESSAGE_SIZE] = "", *pem;
            size_t length;
            const char *path = public_file(keys[k], "public.pem", &pem, &length);
            struct jwt *jwt = open_with(&config, algorithms[a], path, message);
            cr_assert_eq(jwt != NULL, a == k, "%s, key %zu: %s", algorithms[a], k, message);
            if (!jwt)
                cr_assert_not_null(strstr(message, "is not a PEM public key that fits"), "%s", message);
            jwt_close(jwt);
            config_free(&config);
        }
    }
    for (size_t k = 0; k < 5; k++)
        EVP_PKEY_free(keys[k]);
    struct config config;
    char message[CONFIG_MESSAGE_SIZE] = "";
    cr_assert_null(open_with(&config, "ES256", office_file(&office, "garbage.pem", "garbage", 7), message));
    config_free(&config);
    cr_assert_null(open_with(&config, "ES256", office_file(&office, "empty.pem", "", 0), message));
    config_free(&config);
}
