/* sale: opening and closing, readiness, and what makes two requests the same. */
#include "sale/sale.h"

#include "base/log.h"
#include "sale/hall.h"
#include "sale/restore.h"
#include "sale/token.h"
#include "store/pg.h"
#include "store/redis.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct sale *sale_open_without_key(const struct config *config)
{
    struct sale *sale = calloc(1, sizeof *sale);
    if (!sale) {
        log_error("out of memory");
        abort();
    }
    sale->config = config;
    sale->pg = pg_new(config->database, config->statement_timeout, config->lock_timeout);
    sale->redis = redis_new(config->redis, config->redis_timeout);
    redis_on_connect(sale->redis, restore_on_connect, sale);
    sale->halls = hall_cache_new();
    return sale;
}

struct sale *sale_open(const struct config *config, char *message)
{
    struct token_key *key = token_key_read(config->queue_key_file, message);
    if (!key)
        return NULL;
    struct sale *sale = sale_open_without_key(config);
    sale->key = key;
    return sale;
}

void sale_close(struct sale *sale)
{
    if (!sale)
        return;
    hall_cache_free(sale->halls);
    redis_free(sale->redis);
    pg_free(sale->pg);
    token_key_free(sale->key);
    free(sale);
}

void sale_idle(struct sale *sale)
{
    redis_settle(sale->redis);
}

enum error sale_ready(struct sale *sale, struct arena *arena, const char **which)
{
    struct pg_params none = {.arena = arena};
    struct pg_rows *rows;
    struct redis_call ping;
    struct redis_value *pong;

    bool pg = pg_run(sale->pg, arena, STATEMENT_PING, &none, true, &rows) == PG_OK;
    redis_command(&ping, arena, "PING", true);
    bool redis = redis_run_one(sale->redis, arena, &ping, &pong) == OK;
    *which = !pg && !redis ? "postgresql and redis" : !pg ? "postgresql" : "redis";
    return pg && redis ? OK : E_UNAVAILABLE;
}

void idempotency_describe(struct idempotency *idempotency, struct arena *arena, const char *format, ...)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    va_list args;
    if (!idempotency->key)
        return;
    va_start(args, format);
    const char *text = arena_vprintf(arena, format, args);
    va_end(args);
    if (!EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL)) {
        log_error("OpenSSL failed");
        abort();
    }
    memcpy(idempotency->hash, digest, REQUEST_HASH_SIZE);
}
