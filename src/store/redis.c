/* redis: calls and posted calls on a connection. Its parts: redis_call.c puts calls together, redis_link.c is the
 * connection, redis_value.c the answers. */
#include "store/redis.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "store/redis_call.h"
#include "store/redis_link.h"
#include "store/redis_value.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

struct redis *redis_new(const char *address, int64_t timeout_ms)
{
    struct redis *redis = calloc(1, sizeof *redis);
    if (!redis || !(redis->address = strdup(address))) {
        log_error("out of memory");
        abort();
    }
    redis->timeout_ms = timeout_ms;
    return redis;
}

static void drop_posted(struct redis *redis, size_t count)
{
    for (size_t i = 0; i < count; i++)
        arena_free(redis->posted[i].arena);
    memmove(redis->posted, redis->posted + count, (redis->posted_count - count) * sizeof *redis->posted);
    redis->posted_count -= count;
}

void redis_free(struct redis *redis)
{
    if (!redis)
        return;
    redis_settle(redis);
    drop_posted(redis, redis->posted_count);
    redis_link_close(redis);
    free(redis->address);
    free(redis);
}

static bool is_noscript(const struct redis_call *call, const struct redis_value *value)
{
    return call->script && redis_value_is_noscript(value);
}

/* ---- posted calls ---- */

static void end_posted(struct posted *posted, const struct redis_value *value)
{
    if (value->type == REDIS_ERROR)
        log_error("redis refused a posted call error=%s", LOG_QUOTED(value->text));
    arena_free(posted->arena);
}

/* The posted calls from done on follow the kept ones. */
static void close_gap(struct redis *redis, size_t kept, size_t done)
{
    size_t left = redis->posted_count - done;
    memmove(redis->posted + kept, redis->posted + done, left * sizeof *redis->posted);
    redis->posted_count = kept + left;
}

/* Reads the answers; keeps what Redis has forgotten the text of, and, to be sent again, what it cannot do just now. */
static bool read_posted_answers(struct redis *redis, struct arena *arena)
{
    size_t kept = 0, done = 0;
    for (; done < redis->posted_count; done++) {
        struct posted posted = redis->posted[done];
        struct redis_value *value = NULL;
        if (!redis_link_read(redis, arena, &value))
            break;
        posted.sent = is_noscript(&posted.call, value);
        if (posted.sent || redis_value_is_away(value))
            redis->posted[kept++] = posted;
        else
            end_posted(&posted, value);
    }
    bool all = done == redis->posted_count;
    close_gap(redis, kept, done);
    return all;
}

/* Those that were sent and are still there: once more, with their text. */
static bool teach_posted(struct redis *redis, struct arena *arena)
{
    size_t kept = 0, done = 0;
    bool good = true;
    for (; done < redis->posted_count; done++) {
        struct posted posted = redis->posted[done];
        struct redis_value *value = NULL;
        good = !posted.sent || redis_link_teach(redis, arena, &posted.call, &value);
        if (!good)
            break;
        if (posted.sent && !redis_value_is_away(value)) {
            end_posted(&posted, value);
            continue;
        }
        posted.sent = false;
        redis->posted[kept++] = posted;
    }
    close_gap(redis, kept, done);
    return good;
}

/* Reads the answers of what has been posted; sends again what went down with a connection or was refused for the time
 * being, and with its text what Redis has forgotten. False: the connection is lost, and the unanswered ones stay. */
static bool read_posted(struct redis *redis)
{
    for (size_t i = 0; i < redis->posted_count; i++) {
        if (!redis->posted[i].sent && !redis_link_append(redis, &redis->posted[i].call))
            return false;
        redis->posted[i].sent = true;
    }
    if (redis->posted_count == 0)
        return true;
    struct arena *arena = arena_new(1024);
    bool good = read_posted_answers(redis, arena) && teach_posted(redis, arena);
    arena_free(arena);
    return good;
}

void redis_settle(struct redis *redis)
{
    if (redis->posted_count && redis_link_open(redis) && !read_posted(redis))
        redis_link_lose(redis);
}

void redis_post(struct redis *redis, struct redis_call *call)
{
    redis_call_complete(call);
    if (redis->posted_count == POSTED_MAX)
        redis_settle(redis);
    if (redis->posted_count == POSTED_MAX) {
        log_error("redis is away and too many calls wait for it: one is dropped");
        drop_posted(redis, 1);
    }
    struct posted *posted = &redis->posted[redis->posted_count++];
    *posted = (struct posted){.arena = arena_new(1024)};
    posted->call = redis_call_copy(call, posted->arena);
    if (!redis_link_open(redis))
        return;
    crash_point("before", redis_call_name(call));
    posted->sent = redis_link_append(redis, &posted->call);
    if (!posted->sent || !redis_link_flush(redis))
        redis_link_close(redis);
    crash_point("sent", redis_call_name(call));
}

/* ---- calls ---- */

static bool run_once(struct redis *redis, struct arena *arena, struct redis_call *calls, size_t count,
                     struct redis_value **values)
{
    bool forgotten = false;
    const char *name = redis_call_name(&calls[0]);
    if (!read_posted(redis))
        return false;
    crash_point("before", name);
    for (size_t i = 0; i < count; i++) {
        if (!redis_link_append(redis, &calls[i]))
            return false;
    }
    if (!redis_link_flush(redis))
        return false;
    crash_point("sent", name);
    for (size_t i = 0; i < count; i++) {
        if (!redis_link_read(redis, arena, &values[i]))
            return false;
        forgotten = forgotten || is_noscript(&calls[i], values[i]);
    }
    crash_point("after", name);
    for (size_t i = 0; forgotten && i < count; i++) {
        if (is_noscript(&calls[i], values[i]) && !redis_link_teach(redis, arena, &calls[i], &values[i]))
            return false;
    }
    return true;
}

static enum error judge(const struct redis_call *call, const struct redis_value *value)
{
    if (value->type != REDIS_ERROR)
        return OK;
    log_error("redis refused %s error=%s", redis_call_name(call), LOG_QUOTED(value->text));
    return redis_value_is_away(value) ? E_UNAVAILABLE : E_INTERNAL;
}

enum error redis_run(struct redis *redis, struct arena *arena, struct redis_call *calls, size_t count,
                     struct redis_value **values)
{
    bool twice = true;
    for (size_t i = 0; i < count; i++)
        twice = twice && calls[i].twice;

    for (int attempt = 0;; attempt++) {
        if (!redis_link_open(redis))
            return E_UNAVAILABLE;
        if (!twice && redis_link_is_gone(redis)) {
            redis_link_close(redis);
            continue;
        }
        errno = 0;
        if (run_once(redis, arena, calls, count, values))
            break;
        bool timed_out = redis->context->err == REDIS_ERR_IO && errno == EAGAIN;
        redis_link_lose(redis);
        if (timed_out)
            redis->closed_until = clock_monotonic() + BREAK_US;
        if (!twice || timed_out || attempt > 0)
            return E_UNAVAILABLE;
    }
    enum error error = OK;
    for (size_t i = 0; i < count && error == OK; i++)
        error = judge(&calls[i], values[i]);
    return error;
}

enum error redis_run_one(struct redis *redis, struct arena *arena, struct redis_call *call, struct redis_value **value)
{
    return redis_run(redis, arena, call, 1, value);
}
