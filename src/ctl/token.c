/* token: JWTs for trying things out, where usher itself has the signing secret (HS256). */
#include "ctl/command.h"

#include "api/jwt.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/options.h"

#include <stdio.h>
#include <string.h>

enum { COUNT_MAX = 10000000, LIFE_S = 24 * 3600 };

int command_token(struct command_call *call)
{
    int64_t user, count = 1;
    char message[CONFIG_MESSAGE_SIZE];
    if (call->argc < 1 || call->argc > 2 ||
        !decimal_parse(call->argv[0], strlen(call->argv[0]), 1, INT64_MAX - COUNT_MAX, &user) ||
        (call->argc == 2 && !decimal_parse(call->argv[1], strlen(call->argv[1]), 1, COUNT_MAX, &count)))
        return command_usage("token USER [COUNT]");
    struct jwt *jwt = jwt_open(call->config, message);
    if (!jwt) {
        fprintf(stderr, "usherctl: %s\n", message);
        return EXIT_CONFIG;
    }
    int64_t expires = clock_now() / CLOCK_SECOND + LIFE_S;
    int status = EXIT_OK;
    for (int64_t i = 0; i < count && status == EXIT_OK; i++) {
        const char *token = jwt_mint(jwt, call->arena, user + i, expires);
        if (token)
            puts(token);
        else
            status = EXIT_FAILED;
        if (i % 1000 == 999)
            arena_reset(call->arena);
    }
    if (status != EXIT_OK)
        fprintf(stderr, "usherctl: only HS256 tokens can be minted here: with %s the private key is elsewhere\n",
                call->config->jwt_algorithm);
    jwt_close(jwt);
    return status;
}
