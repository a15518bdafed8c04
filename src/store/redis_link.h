/* redis_link: the connection: opened when it is needed, greeted, given up when it is of no more use. For redis*.c. */
#ifndef USHER_STORE_REDIS_LINK_H
#define USHER_STORE_REDIS_LINK_H

#include "base/clock.h"
#include "store/redis.h"

struct redisContext;

/* Posted calls that may wait for their answer; beyond that the oldest is waited for. */
#define POSTED_MAX 64

/* How long calls fail at once after a failed connect: this, and up to as much again. */
#define BREAK_US (CLOCK_SECOND / 4)

struct posted {
    struct arena *arena;
    struct redis_call call;
    bool sent; /* on the present connection */
};

struct redis {
    char *address;
    int64_t timeout_ms;
    struct redisContext *context; /* NULL: not connected */
    int64_t closed_until;         /* clock_monotonic() before which nothing is tried */
    struct posted posted[POSTED_MAX];
    size_t posted_count;
    redis_greeting *greeting;
    void *greeting_context;
    bool greeting_now; /* a connection that is lost meanwhile is not opened again */
    char run_name[64];
    struct arena *replies; /* where hiredis' reader puts answers just now */
};

/* False: it is not to be had just now. True also when it is open already. */
bool redis_link_open(struct redis *redis);
/* What was posted counts as not sent. */
void redis_link_close(struct redis *redis);
/* The same, and says so: it has failed. */
void redis_link_lose(struct redis *redis);
/* Whether the other side has closed it since it was last used: asked before what must not be sent twice. */
bool redis_link_is_gone(const struct redis *redis);

/* Each false: the connection is of no more use. Answers come in the order of the calls. */
bool redis_link_append(struct redis *redis, struct redis_call *call);
bool redis_link_flush(struct redis *redis);
bool redis_link_read(struct redis *redis, struct arena *arena, struct redis_value **value);
/* A script that Redis has forgotten: this once with its whole text, which also teaches it; and its answer. */
bool redis_link_teach(struct redis *redis, struct arena *arena, struct redis_call *call, struct redis_value **value);

#endif
