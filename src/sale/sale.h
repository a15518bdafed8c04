/* sale: what every part of the domain works with, and how it says no. */
#ifndef USHER_SALE_SALE_H
#define USHER_SALE_SALE_H

#include "base/arena.h"
#include "base/config.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg;
struct redis;
struct token_key;
struct hall_cache;

/* What this process has seen of holds and payments since it last told. */
struct pulse {
    int64_t due; /* clock_monotonic() from which on it is told */
    int64_t served, slow, holds, refused, paid;
};

/* One process' way to the data. sale_open() connects nothing yet. */
struct sale {
    const struct config *config;
    struct pg *pg;
    struct redis *redis;
    struct token_key *key;
    struct hall_cache *halls;
    struct pulse pulse;
    int64_t restore_after; /* clock_monotonic() before which this process leaves a lost line to others; see restore.c */
    int64_t batch;         /* people let in in a period, as the line last said; 0: as configured */
    void (*alive)(void *context); /* called now and then during long work, or NULL */
    void *alive_context;
};

/* Reads queue_key_file. NULL with a sentence for the operator in message (CONFIG_MESSAGE_SIZE). */
struct sale *sale_open(const struct config *config, char *message) __attribute__((warn_unused_result));
/* The same for programs that neither make nor read tokens: the scheduler and the operator's, which then need no access
 * to the secret. key is NULL. */
struct sale *sale_open_without_key(const struct config *config) __attribute__((returns_nonnull));
void sale_close(struct sale *sale);

/* Reads answers that nobody waited for, and sends again what was lost. */
void sale_idle(struct sale *sale);

/* E_UNAVAILABLE naming what does not answer in *which ("postgresql", "redis", "postgresql and redis"). */
enum error sale_ready(struct sale *sale, struct arena *arena, const char **which) MUST_CHECK;

/* What a refusal tells beside its code; each error fills only its own. */
struct refusal {
    int64_t position;           /* NOT_ADMITTED */
    int64_t poll_after_seconds; /* NOT_ADMITTED */
    int64_t *seats;             /* SEAT_UNAVAILABLE */
    size_t seat_count;
    int64_t balance, price; /* INSUFFICIENT_BALANCE */
    const char *field;      /* INVALID_REQUEST: which member, and what is wrong with it */
    const char *message;
};

/* Who comes through the gate: a queue token's content. */
struct pass {
    int64_t user, ticket;
};

/* An Idempotency-Key and what was asked with it. key NULL: none was given. */
#define REQUEST_HASH_SIZE 16
struct idempotency {
    const char *key;
    unsigned char hash[REQUEST_HASH_SIZE];
};

/* The same request has the same hash: made from operation and values, not from the bytes of the body. */
void idempotency_describe(struct idempotency *idempotency, struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
