/* queue: the line's steps; each is one script in Redis. */
#include "sale/queue.h"

#include "base/random.h"
#include "sale/keys.h"
#include "sale/restore.h"
#include "store/redis.h"

#include <inttypes.h>
#include <string.h>

/* What gate.lua and its kin answer. */
enum { GATE_INVALID = 0, GATE_WAITING = 1, GATE_ACTIVE = 2 };

enum { POLL_MIN_S = 1, POLL_MAX_S = 60, POLL_SHARE = 4, POLL_PAUSED_S = 10 };

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* What promote.lua has left in `admission` counts where it may differ from the configuration. */
static int64_t in_force(const struct sale *sale, int64_t stored, int64_t configured)
{
    return stored > 0 && strcmp(sale->config->admission, "adaptive") == 0 ? stored : configured;
}

/* Until the position is served at the rate in force, rounded up. */
static int64_t wait_ms(const struct sale *sale, int64_t position)
{
    const struct config *config = sale->config;
    int64_t batch = in_force(sale, sale->batch, config->promote_batch);
    return (int64_t)((double)position * (double)config->promote_period / (double)batch);
}

/* Around so many milliseconds, from 7/8 to 9/8, so that those who came together do not stay together. */
static int64_t jittered_seconds(int64_t ms)
{
    return (ms * (875 + random_jitter(250)) / 1000 + 500) / 1000;
}

int64_t queue_poll_after(const struct sale *sale, int64_t position)
{
    int64_t share = clamp(wait_ms(sale, position) / POLL_SHARE, 0, POLL_MAX_S * 1000);
    return clamp(jittered_seconds(share), POLL_MIN_S, POLL_MAX_S);
}

int64_t queue_poll_after_paused(const struct sale *sale, int64_t position)
{
    int64_t share = clamp(wait_ms(sale, position) / POLL_SHARE, POLL_PAUSED_S * 1000 * 8 / 7, POLL_MAX_S * 1000);
    return clamp(jittered_seconds(share), POLL_PAUSED_S, POLL_MAX_S);
}

/* From {.., ticket, issued, activated, deadline, position, paused, batch} of what join.lua and poll.lua answer. */
static void read_place(struct sale *sale, const struct redis_value *reply, int64_t user, struct place *place)
{
    struct pass pass = {.user = user, .ticket = redis_integer_at(reply, 1)};
    token_make(sale->key, &pass, place->token);
    place->ticket = pass.ticket;
    place->issued = redis_integer_at(reply, 2);
    place->active = redis_integer_at(reply, 3) > 0;
    place->active_until = redis_integer_at(reply, 4);
    place->position = redis_integer_at(reply, 5);
    bool paused = redis_integer_at(reply, 6) != 0;
    sale->batch = redis_integer_at(reply, 7);
    if (place->active) {
        place->poll_after_seconds = POLL_MAX_S;
    } else if (paused) {
        place->wait_seconds = -1;
        place->poll_after_seconds = queue_poll_after_paused(sale, place->position);
    } else {
        place->wait_seconds = (wait_ms(sale, place->position) + 999) / 1000;
        place->poll_after_seconds = queue_poll_after(sale, place->position);
    }
}

enum error queue_join(struct sale *sale, struct arena *arena, int64_t user, struct place *place)
{
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_JOIN);
    queue_gate_keys(&call);
    redis_key(&call, KEY_EVENTS);
    redis_key(&call, KEY_SEQ);
    redis_int(&call, user);
    enum error error = restore_and_run(sale, arena, &call, 1, &reply);
    if (error != OK)
        return error;
    if (redis_integer_at(reply, 0) < 0)
        return E_QUEUE_PAUSED;
    *place = (struct place){.created = redis_integer_at(reply, 0) == 1};
    read_place(sale, reply, user, place);
    return OK;
}

enum error queue_poll(struct sale *sale, struct arena *arena, const char *token, struct place *place)
{
    struct redis_call call;
    struct redis_value *reply;
    struct pass pass;
    if (!token_read(sale->key, token, &pass))
        return E_QUEUE_TOKEN_INVALID;
    redis_script(&call, arena, SCRIPT_POLL);
    queue_gate_keys(&call);
    redis_int(&call, pass.user);
    redis_int(&call, pass.ticket);
    enum error error = restore_and_run(sale, arena, &call, 1, &reply);
    if (error != OK)
        return error;
    if (redis_integer_at(reply, 0) == 0)
        return E_QUEUE_TOKEN_INVALID;
    *place = (struct place){.created = false};
    read_place(sale, reply, pass.user, place);
    return OK;
}

enum error queue_leave(struct sale *sale, struct arena *arena, const char *token)
{
    struct redis_call call;
    struct redis_value *reply;
    struct pass pass;
    if (!token_read(sale->key, token, &pass))
        return OK;
    redis_script(&call, arena, SCRIPT_LEAVE);
    queue_gate_keys(&call);
    redis_key(&call, KEY_EVENTS);
    redis_int(&call, pass.user);
    redis_int(&call, pass.ticket);
    return restore_and_run(sale, arena, &call, 1, &reply);
}

enum error queue_line(struct sale *sale, struct arena *arena, struct line *line)
{
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_LINE);
    redis_key(&call, KEY_WAITING);
    redis_key(&call, KEY_ACTIVE);
    redis_key(&call, KEY_SEQ);
    redis_key(&call, KEY_ADMISSION);
    enum error error = restore_and_run(sale, arena, &call, 1, &reply);
    if (error != OK)
        return error;
    *line = (struct line){
        .paused = redis_integer_at(reply, 0) != 0,
        .serving = redis_integer_at(reply, 1),
        .issued = redis_integer_at(reply, 2),
        .waiting = redis_integer_at(reply, 3),
        .active = redis_integer_at(reply, 4),
        .updated = redis_integer_at(reply, 5),
        .batch = in_force(sale, redis_integer_at(reply, 6), sale->config->promote_batch),
        .active_max = in_force(sale, redis_integer_at(reply, 7), sale->config->active_max),
    };
    return OK;
}

/* ---- the gate ---- */

void queue_gate_keys(struct redis_call *call)
{
    redis_key(call, KEY_TOKENS);
    redis_key(call, KEY_WAITING);
    redis_key(call, KEY_ACTIVE);
    redis_key(call, KEY_ADMISSION);
}

void queue_gate_arguments(const struct sale *sale, struct redis_call *call, const struct pass *pass)
{
    redis_int(call, pass->user);
    redis_int(call, pass->ticket);
    redis_int(call, sale->config->active_ttl);
}

enum error queue_gate_verdict(const struct sale *sale, const struct redis_value *reply, struct refusal *refusal)
{
    switch (redis_integer_at(reply, 0)) {
    case GATE_INVALID:
        return E_QUEUE_TOKEN_INVALID;
    case GATE_WAITING:
        refusal->position = redis_integer_at(reply, 1);
        refusal->poll_after_seconds = queue_poll_after(sale, refusal->position);
        return E_NOT_ADMITTED;
    default:
        return OK;
    }
}

enum error queue_gate(struct sale *sale, struct arena *arena, const struct pass *pass, bool look_only,
                      struct refusal *refusal)
{
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_GATE);
    queue_gate_keys(&call);
    if (look_only) {
        redis_int(&call, pass->user);
        redis_int(&call, pass->ticket);
        redis_int(&call, 0);
    } else {
        queue_gate_arguments(sale, &call, pass);
    }
    enum error error = restore_and_run(sale, arena, &call, 1, &reply);
    return error != OK ? error : queue_gate_verdict(sale, reply, refusal);
}
