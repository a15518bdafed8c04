/* signers: keys and verifiers for all algorithms of bearer tokens, and tokens signed with any of the keys. */
#include "fuzz.h"

#include "api/jwt.h"
#include "base/encode.h"

#include <openssl/bio.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <string.h>

enum { SIGNATURE_MAX = 512, ES256_HALF = 32 };

struct signer {
    const char *algorithm;
    EVP_PKEY *key; /* NULL: HS256 */
    char *known;   /* the secret, or the public key as the server's operator has it */
    struct config config;
    struct jwt *verifier;
};

static char *public_pem(EVP_PKEY *key)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_mem());
    REQUIRE(bio && PEM_write_bio_PUBKEY(bio, key) == 1, "a public key can be written");
    long length = BIO_get_mem_data(bio, &text);
    char *copy = strndup(text, (size_t)length);
    REQUIRE(copy, "no memory");
    BIO_free(bio);
    return copy;
}

static void open_verifier(struct signer *signer)
{
    char message[CONFIG_MESSAGE_SIZE];
    config_init(&signer->config);
    fuzz_set(&signer->config, "jwt_algorithm", signer->algorithm);
    fuzz_set(&signer->config, "jwt_key_file", fuzz_hidden_file(signer->known));
    fuzz_set(&signer->config, "jwt_issuer", FUZZ_ISSUER);
    fuzz_set(&signer->config, "jwt_audience", FUZZ_AUDIENCE);
    signer->verifier = jwt_open(&signer->config, message);
    REQUIRE(signer->verifier, message);
}

static struct signer *signer_of(int algorithm)
{
    static struct signer signers[FUZZ_ALGORITHMS] = {
        {.algorithm = "HS256"}, {.algorithm = "RS256"}, {.algorithm = "ES256"}, {.algorithm = "EdDSA"}};
    static char secret[] = FUZZ_SECRET;
    if (signers[0].verifier)
        return &signers[algorithm];
    signers[FUZZ_HS256].known = secret;
    signers[FUZZ_RS256].key = EVP_RSA_gen(2048);
    signers[FUZZ_ES256].key = EVP_EC_gen("P-256");
    signers[FUZZ_EDDSA].key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    for (int i = 0; i < FUZZ_ALGORITHMS; i++) {
        REQUIRE(i == FUZZ_HS256 || signers[i].key, "keys can be made");
        if (i != FUZZ_HS256)
            signers[i].known = public_pem(signers[i].key);
        open_verifier(&signers[i]);
    }
    return &signers[algorithm];
}

const char *fuzz_algorithm(int algorithm)
{
    return signer_of(algorithm)->algorithm;
}

struct jwt *fuzz_verifier(int algorithm)
{
    return signer_of(algorithm)->verifier;
}

/* ---- signing ---- */

static char *encoded(const void *bytes, size_t length)
{
    char *text = arena_alloc(fuzz_house()->arena, base64url_size(length) + 1);
    base64url_encode(bytes, length, text);
    return text;
}

/* DER to r and s side by side. */
static size_t raw_ecdsa(unsigned char *signature, size_t length)
{
    const unsigned char *der = signature;
    ECDSA_SIG *parts = d2i_ECDSA_SIG(NULL, &der, (long)length);
    REQUIRE(parts && BN_bn2binpad(ECDSA_SIG_get0_r(parts), signature, ES256_HALF) == ES256_HALF &&
                BN_bn2binpad(ECDSA_SIG_get0_s(parts), signature + ES256_HALF, ES256_HALF) == ES256_HALF,
            "an ECDSA signature has two numbers");
    ECDSA_SIG_free(parts);
    return (size_t)2 * ES256_HALF;
}

static size_t sign_private(const struct signer *signer, const char *text, unsigned char *signature)
{
    size_t length = SIGNATURE_MAX;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const EVP_MD *digest = EVP_PKEY_get_base_id(signer->key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
    REQUIRE(context && EVP_DigestSignInit(context, NULL, digest, NULL, signer->key) == 1 &&
                EVP_DigestSign(context, signature, &length, (const unsigned char *)text, strlen(text)) == 1,
            "a key signs");
    EVP_MD_CTX_free(context);
    return EVP_PKEY_get_base_id(signer->key) == EVP_PKEY_EC ? raw_ecdsa(signature, length) : length;
}

static size_t sign_secret(const char *secret, const char *text, unsigned char *signature)
{
    unsigned length = 0;
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text), signature, &length);
    return length;
}

char *fuzz_sign(int signer, int verifier, struct fuzz_part header, struct fuzz_part claims)
{
    struct arena *arena = fuzz_house()->arena;
    unsigned char signature[SIGNATURE_MAX];
    char *text = arena_printf(arena, "%s.%s", encoded(header.text, header.length), encoded(claims.text, claims.length));
    size_t length = signer == FUZZ_HS256 ? sign_secret(signer_of(verifier)->known, text, signature)
                                         : sign_private(signer_of(signer), text, signature);
    return arena_printf(arena, "%s.%s", text, encoded(signature, length));
}
