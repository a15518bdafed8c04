/* stage: opening and closing it, and the loop. */
#include "rehearse/stage.h"

#include "api/jwt.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "base/random.h"
#include "rehearse/seats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIFE_S = 24 * 3600 };

#define TIMEOUT (10 * CLOCK_SECOND)

volatile sig_atomic_t stage_stop;

static void stop(int signal)
{
    (void)signal;
    stage_stop = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* ---- who the fans are ---- */

static bool open_key(struct stage *stage, const char *path)
{
    static struct config config; /* the keeper of tokens looks into it as long as it lives */
    char message[CONFIG_MESSAGE_SIZE];
    config_init(&config);
    if (config_set(&config, "jwt_key_file", path, "--jwt-key-file", message))
        stage->jwt = jwt_open(&config, message);
    if (!stage->jwt)
        log_error("%s", message);
    return stage->jwt != NULL;
}

static void keep_token(struct stage *stage, const char *line, size_t length)
{
    if ((stage->token_count & (stage->token_count - 1)) == 0) {
        size_t capacity = stage->token_count ? 2 * (size_t)stage->token_count : 1;
        stage->tokens = reallocarray(stage->tokens, capacity, sizeof *stage->tokens);
        if (!stage->tokens) {
            log_error("out of memory");
            abort();
        }
    }
    stage->tokens[stage->token_count++] = arena_strndup(stage->token_arena, line, length);
}

static bool read_tokens(struct stage *stage, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t capacity = 0, number = 0;
    bool good = file != NULL;
    if (!file)
        log_error("--tokens: cannot read %s: %s", path, strerror(errno));
    for (ssize_t length; good && (length = getline(&line, &capacity, file)) >= 0;) {
        number++;
        size_t token = strcspn(line, "\r\n");
        if (token == 0)
            continue;
        good = token <= JWT_LENGTH_MAX && strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                                       "-_.") == token;
        if (good)
            keep_token(stage, line, token);
        else
            log_error("--tokens: %s:%zu is not a token", path, number);
    }
    free(line);
    if (file)
        fclose(file);
    if (good && stage->token_count == 0)
        log_error("--tokens: there is no token in %s", path);
    return good && stage->token_count > 0;
}

static bool know_fans(struct stage *stage)
{
    struct settings *settings = stage->settings;
    if (settings->jwt_key_file) {
        if (settings->fans == 0)
            settings->fans = 1000;
        return open_key(stage, settings->jwt_key_file);
    }
    if (!read_tokens(stage, settings->tokens_file))
        return false;
    if (settings->fans == 0)
        settings->fans = stage->token_count;
    if (settings->fans > stage->token_count) {
        log_error("--fans %lld: there are only %lld tokens in %s", (long long)settings->fans,
                  (long long)stage->token_count, settings->tokens_file);
        return false;
    }
    return true;
}

const char *stage_bearer(struct stage *stage, int64_t number)
{
    if (stage->tokens)
        return stage->tokens[number];
    const char *token = jwt_mint(stage->jwt, stage->arena, stage_user(stage, number), stage->expires);
    if (!token) {
        log_error("cannot make a bearer token");
        abort();
    }
    return token;
}

int64_t stage_user(const struct stage *stage, int64_t number)
{
    return stage->settings->first_user + number;
}

/* ---- opening and closing ---- */

int stage_open(struct stage *stage, struct settings *settings)
{
    char message[ADDRESS_MESSAGE_SIZE];
    *stage = (struct stage){.settings = settings, .arena = arena_new(65536), .token_arena = arena_new(65536)};
    stage->expires = clock_now() / CLOCK_SECOND + LIFE_S;
    random_bytes(&stage->run, sizeof stage->run);
    catch_signals();
    if (!know_fans(stage))
        return EXIT_CONFIG;
    if (!address_find(&settings->address, message)) {
        log_error("%s", message);
        return STAGE_EXIT_NO_SERVER;
    }
    stage->client = client_new(&settings->address, (int)settings->connections, TIMEOUT);
    if (!stage->client) {
        log_error("cannot prepare %lld connections: %s", (long long)settings->connections, strerror(errno));
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

void stage_close(struct stage *stage)
{
    client_free(stage->client);
    timers_free(&stage->timers);
    tally_free(&stage->tally);
    journal_free(&stage->journal);
    jwt_close(stage->jwt);
    free(stage->tokens);
    free(stage->venues);
    arena_free(stage->token_arena);
    arena_free(stage->arena);
}

/* ---- the loop ---- */

void stage_play(struct stage *stage, const bool *done, int64_t until)
{
    while (!*done && !stage_stop) {
        int64_t now = clock_monotonic();
        if (now >= until)
            return;
        int64_t late = timers_run(&stage->timers, now);
        if (late >= 0)
            histogram_add(&stage->tally.own_delay, late);
        arena_reset(stage->arena);
        if (*done)
            return;
        int64_t next = timers_next(&stage->timers);
        client_wait(stage->client, (next < until ? next : until) - clock_monotonic());
        arena_reset(stage->arena);
    }
}

int64_t stage_breaches(const struct stage *stage)
{
    return journal_breaches(&stage->journal) + stage->tally.unexpected + stage->tally.outcomes[OUTCOME_FAILED];
}

const struct venue *stage_choose_venue(const struct stage *stage, struct chance *chance)
{
    return &stage->venues[seats_popular(stage->venue_count, chance_share(chance), stage->settings->skew)];
}
