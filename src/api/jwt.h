/* jwt: who is calling. Compact JWS (RFC 7515, 7519) with the one configured algorithm; everything else is refused. */
#ifndef USHER_API_JWT_H
#define USHER_API_JWT_H

#include "base/arena.h"
#include "base/config.h"

#include <stdbool.h>
#include <stdint.h>

struct jwt;

/* Tokens longer than this are refused unseen. */
#define JWT_LENGTH_MAX ((size_t)8192)

/* Reads jwt_key_file for jwt_algorithm. NULL with a sentence for the operator in message (CONFIG_MESSAGE_SIZE). */
struct jwt *jwt_open(const struct config *config, char *message) __attribute__((warn_unused_result));
void jwt_close(struct jwt *jwt);

/* The user of a token that is signed with our key, not expired and meant for us. On false *why says in a few words what
 * is wrong (without naming anything of the token). */
bool jwt_verify(struct jwt *jwt, struct arena *arena, const char *token, int64_t *user, const char **why)
    __attribute__((warn_unused_result));

/* A HS256 token for user, valid until expires (seconds since 1970), with the configured iss and aud; for usherctl
 * token. NULL when the algorithm is not HS256. */
char *jwt_mint(struct jwt *jwt, struct arena *arena, int64_t user, int64_t expires) __attribute__((warn_unused_result));

#endif
