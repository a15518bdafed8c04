/* redis: hiredis' blocking connection, its answers built straight into the arena. */
#include "store/redis.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Posted calls that may wait for their answer; beyond that the oldest is waited for. */
#define POSTED_MAX 64

/* How long calls fail at once after a failed connect: this, and up to as much again. */
#define BREAK_US (CLOCK_SECOND / 4)

/* Where a script's call has its number of keys. */
enum { KEY_COUNT = 2 };

struct posted {
    struct arena *arena;
    struct redis_call call;
    bool sent; /* on the present connection */
};

struct redis {
    char *address;
    int64_t timeout_ms;
    redisContext *context; /* NULL: not connected */
    int64_t closed_until;  /* clock_monotonic() before which nothing is tried */
    struct posted posted[POSTED_MAX];
    size_t posted_count;
    redis_greeting *greeting;
    void *greeting_context;
    bool greeting_now; /* a connection that is lost meanwhile is not opened again */
    char run_name[64];
    struct arena *replies; /* where hiredis' reader puts answers just now */
};

/* ---- answers: hiredis calls these while it reads ---- */

static void *attach(const redisReadTask *task, struct redis_value *value)
{
    if (task->parent) {
        struct redis_value *parent = task->parent->obj;
        parent->items[task->idx] = value;
    }
    return value;
}

static struct redis_value *new_value(const redisReadTask *task, enum redis_type type)
{
    const struct redis *redis = task->privdata;
    struct redis_value *value = arena_zalloc(redis->replies, sizeof *value);
    value->type = type;
    return value;
}

static void *create_text(const redisReadTask *task, char *text, size_t length)
{
    const struct redis *redis = task->privdata;
    struct redis_value *value = new_value(task, task->type == REDIS_REPLY_ERROR ? REDIS_ERROR : REDIS_TEXT);
    value->text = arena_strndup(redis->replies, text, length);
    value->length = length;
    return attach(task, value);
}

static void *create_array(const redisReadTask *task, int count)
{
    const struct redis *redis = task->privdata;
    struct redis_value *value = new_value(task, REDIS_ARRAY);
    value->count = (size_t)count;
    value->items = arena_array(redis->replies, value->count, sizeof *value->items);
    return attach(task, value);
}

static void *create_integer(const redisReadTask *task, long long integer)
{
    struct redis_value *value = new_value(task, REDIS_INTEGER);
    value->integer = integer;
    return attach(task, value);
}

static void *create_nil(const redisReadTask *task)
{
    return attach(task, new_value(task, REDIS_NIL));
}

static void free_nothing(void *object)
{
    (void)object; /* it is the arena's */
}

static redisReplyObjectFunctions reply_functions = {
    .createString = create_text,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = free_nothing,
};

int64_t redis_integer_at(const struct redis_value *value, size_t index)
{
    int64_t integer = 0;
    if (value->type != REDIS_ARRAY || index >= value->count)
        return 0;
    const struct redis_value *item = value->items[index];
    if (item->type == REDIS_INTEGER)
        return item->integer;
    if (item->type == REDIS_TEXT && !decimal_parse(item->text, item->length, INT64_MIN, INT64_MAX, &integer))
        return 0;
    return integer;
}

const char *redis_text_at(const struct redis_value *value, size_t index)
{
    if (value->type != REDIS_ARRAY || index >= value->count || value->items[index]->type != REDIS_TEXT)
        return "";
    return value->items[index]->text;
}

/* ---- putting a call together ---- */

static void add_word(struct redis_call *call, const char *bytes, size_t length)
{
    if (call->count == call->capacity) {
        size_t capacity = call->capacity ? call->capacity * 4 : 24;
        const char **words = arena_array(call->arena, capacity, sizeof *words);
        size_t *lengths = arena_array(call->arena, capacity, sizeof *lengths);
        if (call->count) {
            memcpy(words, call->words, call->count * sizeof *words);
            memcpy(lengths, call->lengths, call->count * sizeof *lengths);
        }
        call->words = words;
        call->lengths = lengths;
        call->capacity = capacity;
    }
    call->words[call->count] = bytes;
    call->lengths[call->count++] = length;
}

/* A script's first argument is the clock's offset; it is added when the keys are complete. */
static void end_keys(struct redis_call *call)
{
    static const char *const numbers[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    if (!call->script || call->words[KEY_COUNT])
        return;
    call->words[KEY_COUNT] = call->keys < 10 ? numbers[call->keys] : arena_printf(call->arena, "%zu", call->keys);
    call->lengths[KEY_COUNT] = strlen(call->words[KEY_COUNT]);
    int64_t offset = clock_offset_ms();
    const char *text = offset == 0 ? "0" : arena_printf(call->arena, "%" PRId64, offset);
    add_word(call, text, strlen(text));
}

void redis_script(struct redis_call *call, struct arena *arena, enum script script)
{
    *call = (struct redis_call){.arena = arena, .script = script_get(script)};
    call->twice = call->script->twice;
    add_word(call, "EVALSHA", 7);
    add_word(call, call->script->sha1, SCRIPT_SHA1_SIZE - 1);
    add_word(call, NULL, 0); /* KEY_COUNT, when the keys are known */
}

void redis_command(struct redis_call *call, struct arena *arena, const char *name, bool twice)
{
    *call = (struct redis_call){.arena = arena, .twice = twice};
    add_word(call, name, strlen(name));
}

void redis_key(struct redis_call *call, const char *key)
{
    add_word(call, key, strlen(key));
    call->keys++;
}

void redis_bytes(struct redis_call *call, const char *bytes, size_t length)
{
    end_keys(call);
    add_word(call, bytes, length);
}

void redis_text(struct redis_call *call, const char *text)
{
    redis_bytes(call, text, strlen(text));
}

void redis_int(struct redis_call *call, int64_t value)
{
    redis_text(call, arena_printf(call->arena, "%" PRId64, value));
}

/* ---- the connection ---- */

static bool append(struct redis *redis, struct redis_call *call);
static bool read_value(struct redis *redis, struct arena *arena, struct redis_value **value);

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

static void disconnect(struct redis *redis)
{
    if (redis->context) {
        redisFree(redis->context);
        redis->context = NULL;
    }
    for (size_t i = 0; i < redis->posted_count; i++)
        redis->posted[i].sent = false;
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
    disconnect(redis);
    free(redis->address);
    free(redis);
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

/* "LOADING", "READONLY", "OOM" and the like: Redis is there but cannot serve, and has done nothing. */
static bool is_away(const struct redis_value *value)
{
    static const char *const away[] = {"LOADING", "READONLY", "OOM", "MISCONF", "MASTERDOWN", "BUSY", "NOREPLICAS"};
    for (size_t i = 0; value->type == REDIS_ERROR && i < sizeof away / sizeof *away; i++) {
        if (strncmp(value->text, away[i], strlen(away[i])) == 0)
            return true;
    }
    return false;
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
        if (!append(redis, &call))
            return false;
    }
    for (int i = 0; i < SCRIPT_COUNT; i++) {
        if (!read_value(redis, arena, &value))
            return false;
        if (is_away(value)) {
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
    bool good = append(redis, &call) && read_value(redis, arena, &info) && info->type == REDIS_TEXT &&
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

static bool connect_redis(struct redis *redis)
{
    if (redis->context && redis->context->err == 0)
        return true;
    disconnect(redis);
    int64_t now = clock_monotonic();
    if (now < redis->closed_until || redis->greeting_now)
        return false;

    struct timeval timeout = {redis->timeout_ms / 1000, redis->timeout_ms % 1000 * 1000};
    redis->context = open_context(redis, timeout);
    if (!redis->context || redis->context->err || redisSetTimeout(redis->context, timeout) != REDIS_OK) {
        log_warning("redis unavailable address=%s error=%s", redis->address,
                    LOG_QUOTED(redis->context ? redis->context->errstr : "not an address"));
        disconnect(redis);
        redis->closed_until = now + BREAK_US + random_jitter((uint32_t)BREAK_US);
        return false;
    }
    redis->context->reader->fn = &reply_functions;
    redis->context->reader->privdata = redis;
    if (redis->greeting && !greet(redis)) {
        disconnect(redis);
        redis->closed_until = clock_monotonic() + BREAK_US / 4 + random_jitter((uint32_t)BREAK_US / 4);
        return false;
    }
    return true;
}

static void lose(struct redis *redis)
{
    log_warning("redis lost address=%s error=%s", redis->address, LOG_QUOTED(redis->context->errstr));
    disconnect(redis);
}

/* Whether the other side has closed the connection since it was last used: asked before what must not be sent twice. */
static bool went_away(const struct redis *redis)
{
    char byte;
    return recv(redis->context->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static bool append(struct redis *redis, struct redis_call *call)
{
    end_keys(call);
    return redisAppendCommandArgv(redis->context, (int)call->count, call->words, call->lengths) == REDIS_OK;
}

static bool flush(struct redis *redis)
{
    int done = 0;
    while (!done) {
        if (redisBufferWrite(redis->context, &done) != REDIS_OK)
            return false;
    }
    return true;
}

static bool read_value(struct redis *redis, struct arena *arena, struct redis_value **value)
{
    void *reply = NULL;
    redis->replies = arena;
    if (redisGetReply(redis->context, &reply) != REDIS_OK)
        return false;
    *value = reply;
    return true;
}

static bool is_noscript(const struct redis_call *call, const struct redis_value *value)
{
    return call->script && value->type == REDIS_ERROR && strncmp(value->text, "NOSCRIPT", 8) == 0;
}

/* Redis has forgotten the script (a restart, SCRIPT FLUSH): this once with its whole text, which also teaches it. */
static bool run_with_text(struct redis *redis, struct arena *arena, struct redis_call *call, struct redis_value **value)
{
    call->words[0] = "EVAL";
    call->lengths[0] = 4;
    call->words[1] = call->script->text;
    call->lengths[1] = call->script->length;
    bool ok = append(redis, call) && read_value(redis, arena, value);
    call->words[0] = "EVALSHA";
    call->lengths[0] = 7;
    call->words[1] = call->script->sha1;
    call->lengths[1] = SCRIPT_SHA1_SIZE - 1;
    return ok;
}

static const char *call_name(const struct redis_call *call)
{
    return call->script ? call->script->name : call->words[0];
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
        if (!read_value(redis, arena, &value))
            break;
        posted.sent = is_noscript(&posted.call, value);
        if (posted.sent || is_away(value))
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
        good = !posted.sent || run_with_text(redis, arena, &posted.call, &value);
        if (!good)
            break;
        if (posted.sent && !is_away(value)) {
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
        if (!redis->posted[i].sent && !append(redis, &redis->posted[i].call))
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
    if (redis->posted_count && connect_redis(redis) && !read_posted(redis))
        lose(redis);
}

/* The call lives on beyond its request: words and all move into an arena of its own. */
static struct redis_call copy_call(const struct redis_call *call, struct arena *arena)
{
    struct redis_call copy = {.arena = arena, .script = call->script, .twice = call->twice, .keys = call->keys};
    for (size_t i = 0; i < call->count; i++)
        add_word(&copy, arena_strndup(arena, call->words[i], call->lengths[i]), call->lengths[i]);
    return copy;
}

void redis_post(struct redis *redis, struct redis_call *call)
{
    end_keys(call);
    if (redis->posted_count == POSTED_MAX)
        redis_settle(redis);
    if (redis->posted_count == POSTED_MAX) {
        log_error("redis is away and too many calls wait for it: one is dropped");
        drop_posted(redis, 1);
    }
    struct posted *posted = &redis->posted[redis->posted_count++];
    *posted = (struct posted){.arena = arena_new(1024)};
    posted->call = copy_call(call, posted->arena);
    if (!connect_redis(redis))
        return;
    crash_point("before", call_name(call));
    posted->sent = append(redis, &posted->call);
    if (!posted->sent || !flush(redis))
        disconnect(redis);
    crash_point("sent", call_name(call));
}

/* ---- calls ---- */

static bool run_once(struct redis *redis, struct arena *arena, struct redis_call *calls, size_t count,
                     struct redis_value **values)
{
    bool forgotten = false;
    const char *name = call_name(&calls[0]);
    if (!read_posted(redis))
        return false;
    crash_point("before", name);
    for (size_t i = 0; i < count; i++) {
        if (!append(redis, &calls[i]))
            return false;
    }
    if (!flush(redis))
        return false;
    crash_point("sent", name);
    for (size_t i = 0; i < count; i++) {
        if (!read_value(redis, arena, &values[i]))
            return false;
        forgotten = forgotten || is_noscript(&calls[i], values[i]);
    }
    crash_point("after", name);
    for (size_t i = 0; forgotten && i < count; i++) {
        if (is_noscript(&calls[i], values[i]) && !run_with_text(redis, arena, &calls[i], &values[i]))
            return false;
    }
    return true;
}

static enum error judge(const struct redis_call *call, const struct redis_value *value)
{
    if (value->type != REDIS_ERROR)
        return OK;
    log_error("redis refused %s error=%s", call_name(call), LOG_QUOTED(value->text));
    return is_away(value) ? E_UNAVAILABLE : E_INTERNAL;
}

enum error redis_run(struct redis *redis, struct arena *arena, struct redis_call *calls, size_t count,
                     struct redis_value **values)
{
    bool twice = true;
    for (size_t i = 0; i < count; i++)
        twice = twice && calls[i].twice;

    for (int attempt = 0;; attempt++) {
        if (!connect_redis(redis))
            return E_UNAVAILABLE;
        if (!twice && went_away(redis)) {
            disconnect(redis);
            continue;
        }
        errno = 0;
        if (run_once(redis, arena, calls, count, values))
            break;
        bool timed_out = redis->context->err == REDIS_ERR_IO && errno == EAGAIN;
        lose(redis);
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
