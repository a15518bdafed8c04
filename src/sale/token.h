/* token: queue tokens and page cursors, made from one secret.
 *
 * A queue token is one AES block, (user, ticket) encrypted: 128 bits that look random, 22 characters of base64url.
 * Nothing has to store it: the line keeps users and tickets, and whoever has the key can tell the token. So no token
 * lies in Redis, in PostgreSQL, in a backup or in a log, and a line that is rebuilt from its history keeps everybody's
 * token valid. A guessed token decrypts to a user and a ticket that are not in the line. */
#ifndef USHER_SALE_TOKEN_H
#define USHER_SALE_TOKEN_H

#include "sale/sale.h"

#define TOKEN_SIZE  23 /* with the NUL */
#define CURSOR_SIZE 34 /* with the NUL */

struct token_key;

/* From a file of at least 16 bytes. NULL with a sentence in message (CONFIG_MESSAGE_SIZE). */
struct token_key *token_key_read(const char *path, char *message) __attribute__((warn_unused_result));
void token_key_free(struct token_key *key);

void token_make(struct token_key *key, const struct pass *pass, char token[static TOKEN_SIZE]);
/* False for anything that we have not made with this key. */
bool token_read(struct token_key *key, const char *token, struct pass *pass) __attribute__((warn_unused_result));

/* A place in a listing. list tells listings apart, owner whose listing it is (0: everybody's), depth counts pages. */
struct cursor {
    uint8_t list;
    uint8_t depth; /* stays at 255 */
    int64_t id;
};

void cursor_make(struct token_key *key, const struct cursor *cursor, int64_t owner, char text[static CURSOR_SIZE]);
/* False for a cursor that is forged, of another listing (cursor->list says which is wanted) or of another owner. */
bool cursor_read(struct token_key *key, const char *text, int64_t owner, struct cursor *cursor)
    __attribute__((warn_unused_result));

#endif
