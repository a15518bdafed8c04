/* redis_link: see the header. */
#include "store/redis_link.h"

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"
#include "store/redis_call.h"
#include "store/redis_value.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void redis_link_close(struct redis *redis)
{
    if (redis->context) {
        redisFree(redis->context);
        redis->context = NULL;
    }
    for (size_t i = 0; i < redis->posted_count; i++)
        redis->posted[i].sent = false;
}

static redisContext *open_context(const struct redis *redis, struct timeval timeout)
{
    if (redis->address[0] == '/')
        return redisConnectUnixWithTimeout(redis->address, timeout);
    const char *colon = strrchr(redis->address, ':');
    int64_t port = 6379;
    size_t host_length = colon ? (size_t)(colon - redis->address) : strlen(redis->address);
    char host[256];
    if (host_length >= sizeof host || (colon && !decimal_parse(colon + 1, strlen(colon + 1), 1, 65535, &port)))
        return NULL;
    memcpy(host, redis->address, host_length);
    host[host_length] = '\0';
    return redisConnectWithTimeout(host, (int)port, timeout);
}

void redis_on_connect(struct redis *redis, redis_greeting *greeting, void *context)
{
    redis->greeting = greeting;
    redis->greeting_context = context;
}

void redis_set_timeout(struct redis *redis, int64_t timeout_ms)
{
    struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    redis->timeout_ms = timeout_ms;
    if (redis->context)
        redisSetTimeout(redis->context, timeout);
}

const char *redis_run_name(const struct redis *redis)
{
    return redis->run_name;
}

/* All scripts at once, so that a posted one finds its text there. */
static bool load_scripts(struct redis *redis, struct arena *arena)
{
    struct redis_value *value;
    for (int i = 0; i < SCRIPT_COUNT; i++) {
        struct redis_call call;
        redis_command(&call, arena, "SCRIPT", true);
        redis_text(&call, "LOAD");
        redis_text(&call, script_get((enum script)i)->text);
        if (!redis_link_append(redis, &call))
            return false;
    }
    for (int i = 0; i < SCRIPT_COUNT; i++) {
        if (!redis_link_read(redis, arena, &value))
            return false;
        if (redis_value_is_away(value)) {
            log_warning("redis is not ready error=%s", LOG_QUOTED(value->text));
            return false;
        }
        if (value->type == REDIS_ERROR)
            log_error("redis does not take the script %s error=%s", script_get((enum script)i)->name,
                      LOG_QUOTED(value->text));
    }
    return true;
}

/* Which run this is, and what the caller has to say to it. */
static bool greet(struct redis *redis)
{
    static const char field[] = "run_id:";
    struct arena *arena = arena_new(8192);
    struct redis_call call;
    struct redis_value *info = NULL;
    redis_command(&call, arena, "INFO", true);
    redis_text(&call, "server");
    bool good = redis_link_append(redis, &call) && redis_link_read(redis, arena, &info) && info->type == REDIS_TEXT &&
                load_scripts(redis, arena);
    const char *name = good ? strstr(info->text, field) : NULL;
    if (name)
        snprintf(redis->run_name, sizeof redis->run_name, "%.*s", (int)strcspn(name + sizeof field - 1, "\r\n"),
                 name + sizeof field - 1);
    arena_free(arena);
    redis->greeting_now = true;
    bool welcome = name && redis->greeting(redis, redis->greeting_context) && redis->context;
    redis->greeting_now = false;
    return welcome;
}

bool redis_link_open(struct redis *redis)
{
    if (redis->context && redis->context->err == 0)
        return true;
    redis_link_close(redis);
    int64_t now = clock_monotonic();
    if (now < redis->closed_until || redis->greeting_now)
        return false;

    struct timeval timeout = {redis->timeout_ms / 1000, redis->timeout_ms % 1000 * 1000};
    redis->context = open_context(redis, timeout);
    if (!redis->context || redis->context->err || redisSetTimeout(redis->context, timeout) != REDIS_OK) {
        log_warning("redis unavailable address=%s error=%s", redis->address,
                    LOG_QUOTED(redis->context ? redis->context->errstr : "not an address"));
        redis_link_close(redis);
        redis->closed_until = now + BREAK_US + random_jitter((uint32_t)BREAK_US);
        return false;
    }
    redis->context->reader->fn = &redis_value_functions;
    redis->context->reader->privdata = &redis->replies;
    if (redis->greeting && !greet(redis)) {
        redis_link_close(redis);
        redis->closed_until = clock_monotonic() + BREAK_US / 4 + random_jitter((uint32_t)BREAK_US / 4);
        return false;
    }
    return true;
}

void redis_link_lose(struct redis *redis)
{
    log_warning("redis lost address=%s error=%s", redis->address, LOG_QUOTED(redis->context->errstr));
    redis_link_close(redis);
}

bool redis_link_is_gone(const struct redis *redis)
{
    char byte;
    return recv(redis->context->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

bool redis_link_append(struct redis *redis, struct redis_call *call)
{
    redis_call_complete(call);
    redis_call_date(call);
    return redisAppendCommandArgv(redis->context, (int)call->count, call->words, call->lengths) == REDIS_OK;
}

bool redis_link_flush(struct redis *redis)
{
    int done = 0;
    while (!done) {
        if (redisBufferWrite(redis->context, &done) != REDIS_OK)
            return false;
    }
    return true;
}

bool redis_link_read(struct redis *redis, struct arena *arena, struct redis_value **value)
{
    void *reply = NULL;
    redis->replies = arena;
    if (redisGetReply(redis->context, &reply) != REDIS_OK)
        return false;
    *value = reply;
    return true;
}

bool redis_link_teach(struct redis *redis, struct arena *arena, struct redis_call *call, struct redis_value **value)
{
    redis_call_send_text(call, true);
    bool ok = redis_link_append(redis, call) && redis_link_read(redis, arena, value);
    redis_call_send_text(call, false);
    return ok;
}
