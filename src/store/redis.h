/* redis: one connection, scripts by their hash, pipelines, and nothing that waits for ever.
 *
 * A call that cannot be answered within redis_timeout fails with E_UNAVAILABLE and ends the connection, because a late
 * answer would be taken for the next one's. Scripts marked `twice` are then tried once more on a fresh connection.
 * After a failed connect every call fails at once for a short while (a circuit breaker), so that an outage costs no
 * waiting. */
#ifndef USHER_STORE_REDIS_H
#define USHER_STORE_REDIS_H

#include "base/arena.h"
#include "base/error.h"
#include "store/script.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis;

/* address: a socket's path or host:port. Connects at the first call. */
struct redis *redis_new(const char *address, int64_t timeout_ms);
void redis_free(struct redis *redis);

/* Called on each new connection, before anything else is sent on it; it may run calls itself. When it returns false the
 * connection is given up, as if Redis were away. */
typedef bool redis_greeting(struct redis *redis, void *context);
void redis_on_connect(struct redis *redis, redis_greeting *greeting, void *context);

/* The name of the server's run on the present connection (run_id of INFO): a restart gives another. "" when not
 * connected or no greeting is set. */
const char *redis_run_name(const struct redis *redis);

/* From now on waits so long for each answer; for work whose steps are longer than a request's. */
void redis_set_timeout(struct redis *redis, int64_t timeout_ms);

/* An answer, in the arena of the call. */
enum redis_type { REDIS_NIL, REDIS_INTEGER, REDIS_TEXT, REDIS_ARRAY, REDIS_ERROR };

struct redis_value {
    enum redis_type type;
    int64_t integer;  /* INTEGER */
    const char *text; /* TEXT, ERROR: length bytes and a NUL */
    size_t length;
    struct redis_value **items; /* ARRAY: count of them */
    size_t count;
};

/* The integer at index of an array (a text of digits counts too), or 0. */
int64_t redis_integer_at(const struct redis_value *value, size_t index);
/* The text at index of an array, or "". */
const char *redis_text_at(const struct redis_value *value, size_t index);

/* One command being put together: a script with its keys and arguments, or a plain command. */
struct redis_call {
    struct arena *arena;
    const struct script_text *script; /* NULL for a plain command */
    bool twice;
    const char **words; /* scripts: EVALSHA, hash, key count, keys, arguments */
    size_t *lengths;
    size_t count, capacity;
    size_t keys;
};

/* A script; its first argument, the clock's offset, is added by itself after the keys. */
void redis_script(struct redis_call *call, struct arena *arena, enum script script);
/* A plain command; twice: may be sent again after a lost answer. */
void redis_command(struct redis_call *call, struct arena *arena, const char *name, bool twice);
/* Keys of a script come before its arguments. Texts must live until the call is run. */
void redis_key(struct redis_call *call, const char *key);
void redis_text(struct redis_call *call, const char *text);
void redis_bytes(struct redis_call *call, const char *bytes, size_t length);
void redis_int(struct redis_call *call, int64_t value);

/* Sends count calls in one write and waits for their answers: one round trip. OK when all were answered, whatever the
 * answers are; a script that failed is E_INTERNAL (and logged). values[i] belongs to calls[i]. */
enum error redis_run(struct redis *redis, struct arena *arena, struct redis_call *calls, size_t count,
                     struct redis_value **values) MUST_CHECK;
/* The same for one call. */
enum error redis_run_one(struct redis *redis, struct arena *arena, struct redis_call *call,
                         struct redis_value **value) MUST_CHECK;

/* Sends a call whose answer nobody waits for; it must be `twice`. Redis gets it before this returns, in front of
 * everything that is sent later on this connection. Its answer is read, and the call repeated if it was lost, by
 * redis_settle() or by the next run. When Redis is away the call is kept and tried again by redis_settle(), as long as
 * few are pending. */
void redis_post(struct redis *redis, struct redis_call *call);
/* Reads the answers of posted calls. Called when a worker has nothing else to do. */
void redis_settle(struct redis *redis);

#endif
