/* passes: identities for the bench, one a line: user, JWT and queue token, separated by tabs. The token's ticket number
 * is the user's number, as the bench puts them into the line.
 *
 * Usage: passes JWT-KEY-FILE QUEUE-KEY-FILE FIRST COUNT */
#include "api/jwt.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/encode.h"
#include "sale/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool number(const char *text, int64_t *value)
{
    return decimal_parse(text, strlen(text), 1, INT64_C(1) << 40, value);
}

static int complain(const char *message)
{
    fprintf(stderr, "passes: %s\n", message);
    return 1;
}

int main(int argc, char **argv)
{
    int64_t first, count;
    char message[CONFIG_MESSAGE_SIZE] = "", token[TOKEN_SIZE];
    struct config config;
    if (argc != 5 || !number(argv[3], &first) || !number(argv[4], &count)) {
        fputs("Usage: passes JWT-KEY-FILE QUEUE-KEY-FILE FIRST COUNT\n", stderr);
        return 64;
    }
    config_init(&config);
    if (!config_set(&config, "jwt_key_file", argv[1], "argument 1", message))
        return complain(message);
    struct jwt *jwt = jwt_open(&config, message);
    struct token_key *key = jwt ? token_key_read(argv[2], message) : NULL;
    if (!key)
        return complain(message);

    struct arena *arena = arena_new(4096);
    int64_t expires = clock_now() / CLOCK_SECOND + 24 * 3600;
    for (int64_t user = first; user < first + count; user++) {
        struct pass pass = {.user = user, .ticket = user};
        token_make(key, &pass, token);
        printf("%" PRId64 "\t%s\t%s\n", user, jwt_mint(jwt, arena, user, expires), token);
        arena_reset(arena);
    }
    arena_free(arena);
    token_key_free(key);
    jwt_close(jwt);
    config_free(&config);
    return 0;
}
