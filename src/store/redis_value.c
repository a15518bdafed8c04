/* redis_value: see the headers; hiredis calls these while it reads. */
#include "store/redis_value.h"

#include "base/encode.h"

#include <hiredis/hiredis.h>
#include <string.h>

static struct arena *arena_of(const redisReadTask *task)
{
    return *(struct arena **)task->privdata;
}

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
    struct redis_value *value = arena_zalloc(arena_of(task), sizeof *value);
    value->type = type;
    return value;
}

static void *create_text(const redisReadTask *task, char *text, size_t length)
{
    struct redis_value *value = new_value(task, task->type == REDIS_REPLY_ERROR ? REDIS_ERROR : REDIS_TEXT);
    value->text = arena_strndup(arena_of(task), text, length);
    value->length = length;
    return attach(task, value);
}

static void *create_array(const redisReadTask *task, int count)
{
    struct redis_value *value = new_value(task, REDIS_ARRAY);
    value->count = (size_t)count;
    value->items = arena_array(arena_of(task), value->count, sizeof *value->items);
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

redisReplyObjectFunctions redis_value_functions = {
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

bool redis_value_is_away(const struct redis_value *value)
{
    static const char *const away[] = {"LOADING", "READONLY", "OOM", "MISCONF", "MASTERDOWN", "BUSY", "NOREPLICAS"};
    for (size_t i = 0; value->type == REDIS_ERROR && i < sizeof away / sizeof *away; i++) {
        if (strncmp(value->text, away[i], strlen(away[i])) == 0)
            return true;
    }
    return false;
}

bool redis_value_is_noscript(const struct redis_value *value)
{
    return value->type == REDIS_ERROR && strncmp(value->text, "NOSCRIPT", 8) == 0;
}
