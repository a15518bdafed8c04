/* fuzz: what the libFuzzer targets share: a whole api without servers, a request as nginx would bring it, and what
 * every reply must be. A violated rule aborts, which libFuzzer reports with the input. */
#ifndef USHER_FUZZ_FUZZ_H
#define USHER_FUZZ_FUZZ_H

#include "api/api.h"
#include "base/arena.h"
#include "sale/token.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the run with a sentence and where it was said when the rule does not hold. */
#define REQUIRE(rule, what)                                                                                            \
    do {                                                                                                               \
        if (!(rule))                                                                                                   \
            fuzz_failed(__FILE__, __LINE__, #rule, what);                                                              \
    } while (0)
void fuzz_failed(const char *file, int line, const char *rule, const char *what) __attribute__((noreturn));

/* Made at the first call, with keys of its own; nothing is logged but errors of the house. */
struct fuzz_house {
    struct config config;
    struct api *api;
    struct sale *sale;
    struct jwt *jwt;
    struct token_key *key;
    struct arena *arena; /* reset after each input */
    char *bearer;        /* a good token of FUZZ_USER */
    char token[TOKEN_SIZE], other[TOKEN_SIZE];
};
#define FUZZ_USER  7
#define FUZZ_OTHER 8
struct fuzz_house *fuzz_house(void);

/* The bytes as a NUL-terminated text in the house's arena. */
char *fuzz_text(const uint8_t *data, size_t size);

/* The path of a file with this text that only this process sees; valid until the next call. */
const char *fuzz_hidden_file(const char *text);

void fuzz_set(struct config *config, const char *key, const char *value);

#define FUZZ_SECRET   "0123456789abcdef0123456789abcdef" /* HS256's */
#define FUZZ_ISSUER   "https://issuer.example"
#define FUZZ_AUDIENCE "usher"

/* ---- signers.c: a key for each algorithm of bearer tokens, but for HS256's made at start-up ---- */

enum { FUZZ_HS256, FUZZ_RS256, FUZZ_ES256, FUZZ_EDDSA, FUZZ_ALGORITHMS };
const char *fuzz_algorithm(int algorithm);
/* The verifier that is configured for this algorithm. */
struct jwt *fuzz_verifier(int algorithm);

struct fuzz_part {
    const char *text;
    size_t length;
};
/* Header and claims as a token, signed with the signer's key. HS256 for the verifier of another algorithm: its public
 * key, which everybody has, is the secret. */
char *fuzz_sign(int signer, int verifier, struct fuzz_part header, struct fuzz_part claims);

/* ---- transport.c ---- */

/* One request in, one reply out: parameters "NAME=value", the body, and its whole way through fastcgi_read(),
 * api_handle() and fastcgi_write(). Checks the reply's bytes. Returns the HTTP status. */
int fuzz_exchange(char **parameters, const uint8_t *body, size_t length);

/* ---- stand_in.c: PostgreSQL and Redis ---- */

/* What both answer from now on, made from these bytes; when they are used up, both are away. */
void stand_in_feed(const uint8_t *data, size_t size);
/* Whether a page was given out of the cache as it is: such a reply's body says nothing about us. */
extern bool stand_in_gave_page;

#endif
