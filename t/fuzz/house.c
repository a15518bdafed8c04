/* house: the api and its keys, as the targets use them. */
#include "fuzz.h"

#include "api/exchange.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* 2100-01-01. */
#define FAR_FUTURE INT64_C(4102444800)

void fuzz_failed(const char *file, int line, const char *rule, const char *what)
{
    fprintf(stderr, "%s:%d: %s: this does not hold: %s\n", file, line, what, rule);
    abort();
}

/* The descriptor stays open. */
const char *fuzz_hidden_file(const char *text)
{
    static char path[64];
    int fd = memfd_create("key", 0);
    REQUIRE(fd >= 0, "no memory for a key");
    REQUIRE(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "a key cannot be written");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

/* Mistakes with memory show within one input; a large quarantine would only cost page faults. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4:malloc_context_size=8";
}

void fuzz_set(struct config *config, const char *key, const char *value)
{
    char message[CONFIG_MESSAGE_SIZE];
    REQUIRE(config_set(config, key, value, "fuzz", message), message);
}

static void build(struct fuzz_house *house)
{
    char message[CONFIG_MESSAGE_SIZE];
    struct pass own = {FUZZ_USER, 11}, others = {FUZZ_OTHER, 12};
    log_open("fuzz", 0); /* not even errors: they are expected here, and writing is slow */
    config_init(&house->config);
    fuzz_set(&house->config, "jwt_key_file", fuzz_hidden_file(FUZZ_SECRET));
    fuzz_set(&house->config, "queue_key_file", fuzz_hidden_file("fedcba9876543210fedcba9876543210"));
    fuzz_set(&house->config, "jwt_issuer", FUZZ_ISSUER);
    fuzz_set(&house->config, "jwt_audience", FUZZ_AUDIENCE);
    fuzz_set(&house->config, "database", "host=/nonexistent dbname=none");
    fuzz_set(&house->config, "redis", "/nonexistent/redis.sock");
    house->api = api_new(&house->config, message);
    REQUIRE(house->api, message);
    house->sale = house->api->sale;
    house->jwt = house->api->jwt;
    house->key = house->sale->key;
    house->arena = arena_new(8192); /* small: requests often need a second block */
    struct arena *arena = arena_new(4096);
    house->bearer = strdup(jwt_mint(house->jwt, arena, FUZZ_USER, FAR_FUTURE));
    arena_free(arena);
    REQUIRE(house->bearer, "no memory");
    token_make(house->key, &own, house->token);
    token_make(house->key, &others, house->other);
    stand_in_feed(NULL, 0);
}

struct fuzz_house *fuzz_house(void)
{
    static struct fuzz_house house;
    if (!house.api)
        build(&house);
    return &house;
}

char *fuzz_text(const uint8_t *data, size_t size)
{
    return arena_strndup(fuzz_house()->arena, size ? (const char *)data : "", size);
}
