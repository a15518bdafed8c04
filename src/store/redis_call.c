/* redis_call: see the headers. */
#include "store/redis_call.h"

#include "base/clock.h"

#include <inttypes.h>
#include <string.h>

/* Where a script's call has its number of keys. */
enum { KEY_COUNT = 2 };

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

void redis_call_complete(struct redis_call *call)
{
    static const char *const numbers[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    if (!call->script || call->words[KEY_COUNT])
        return;
    call->words[KEY_COUNT] = call->keys < 10 ? numbers[call->keys] : arena_printf(call->arena, "%zu", call->keys);
    call->lengths[KEY_COUNT] = strlen(call->words[KEY_COUNT]);
    add_word(call, "0", 1);
}

void redis_call_date(struct redis_call *call)
{
    int64_t offset = clock_offset_ms();
    size_t place = KEY_COUNT + 1 + call->keys;
    if (!call->script || offset == 0)
        return;
    call->words[place] = arena_printf(call->arena, "%" PRId64, offset);
    call->lengths[place] = strlen(call->words[place]);
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
    redis_call_complete(call);
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

static void set_word(struct redis_call *call, size_t index, const char *bytes, size_t length)
{
    call->words[index] = bytes;
    call->lengths[index] = length;
}

void redis_call_send_text(struct redis_call *call, bool text)
{
    set_word(call, 0, text ? "EVAL" : "EVALSHA", text ? 4 : 7);
    if (text)
        set_word(call, 1, call->script->text, call->script->length);
    else
        set_word(call, 1, call->script->sha1, SCRIPT_SHA1_SIZE - 1);
}

const char *redis_call_name(const struct redis_call *call)
{
    return call->script ? call->script->name : call->words[0];
}

struct redis_call redis_call_copy(const struct redis_call *call, struct arena *arena)
{
    struct redis_call copy = {.arena = arena, .script = call->script, .twice = call->twice, .keys = call->keys};
    for (size_t i = 0; i < call->count; i++)
        add_word(&copy, arena_strndup(arena, call->words[i], call->lengths[i]), call->lengths[i]);
    return copy;
}
