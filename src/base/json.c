/* json: request bodies are first walked by a strict reader of our own (RFC 8259 and nothing else), then built by
 * json-c.
 *
 * The walk refuses every text that json-c would take although it is no JSON. Duplicate keys are found by counting:
 * json-c keeps one of two equal keys, so the tree then has fewer members than the text. That is linear, and equal means
 * what it means to json-c, escapes included. */
#include "base/json.h"

#include "base/clock.h"
#include "base/encode.h"

#include <json-c/json.h>
#include <string.h>

/* Objects and arrays inside each other. */
#define DEPTH_MAX 16

/* json-c counts the innermost value as a level, too; our own walk has refused what is deeper. */
#define TOKENER_DEPTH (DEPTH_MAX + 2)

struct walk {
    const char *at;
    const char *end;
    size_t members; /* of all objects */
    int depth;
};

static bool walk_value(struct walk *walk);

static void skip_space(struct walk *walk)
{
    while (walk->at < walk->end && (*walk->at == ' ' || *walk->at == '\t' || *walk->at == '\n' || *walk->at == '\r'))
        walk->at++;
}

/* Takes c if it comes next. */
static bool take(struct walk *walk, char c)
{
    if (walk->at == walk->end || *walk->at != c)
        return false;
    walk->at++;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Behind the backslash. \u0000 is refused although it is JSON: C strings of json-c's keys and of PostgreSQL end there.
 */
static bool walk_escape(struct walk *walk)
{
    char c;

    if (walk->at == walk->end)
        return false;
    c = *walk->at++;
    if (c != 'u')
        return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
    if (walk->end - walk->at < 4)
        return false;
    for (int i = 0; i < 4; i++)
        if (!is_hex(walk->at[i]))
            return false;
    if (memcmp(walk->at, "0000", 4) == 0)
        return false;
    walk->at += 4;
    return true;
}

static bool walk_string(struct walk *walk)
{
    if (!take(walk, '"'))
        return false;
    while (walk->at < walk->end) {
        unsigned char c = (unsigned char)*walk->at;
        size_t size;

        if (c == '"') {
            walk->at++;
            return true;
        }
        if (c < 0x20)
            return false;
        if (c == '\\') {
            walk->at++;
            if (!walk_escape(walk))
                return false;
            continue;
        }
        size = utf8_sequence(walk->at, (size_t)(walk->end - walk->at));
        if (size == 0)
            return false;
        walk->at += size;
    }
    return false;
}

static bool walk_digits(struct walk *walk)
{
    const char *first = walk->at;

    while (walk->at < walk->end && is_digit(*walk->at))
        walk->at++;
    return walk->at > first;
}

static bool walk_number(struct walk *walk)
{
    (void)take(walk, '-');
    if (!take(walk, '0') && !walk_digits(walk))
        return false;
    if (take(walk, '.') && !walk_digits(walk))
        return false;
    if (take(walk, 'e') || take(walk, 'E')) {
        if (!take(walk, '+'))
            (void)take(walk, '-');
        return walk_digits(walk);
    }
    return true;
}

static bool walk_word(struct walk *walk, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(walk->end - walk->at) < length || memcmp(walk->at, word, length) != 0)
        return false;
    walk->at += length;
    return true;
}

static bool walk_member(struct walk *walk)
{
    skip_space(walk);
    if (!walk_string(walk))
        return false;
    skip_space(walk);
    walk->members++;
    return take(walk, ':') && walk_value(walk);
}

/* An object or an array, from its opening to its closing bracket. */
static bool walk_container(struct walk *walk, char close, bool (*walk_item)(struct walk *))
{
    walk->at++;
    if (++walk->depth > DEPTH_MAX)
        return false;
    skip_space(walk);
    if (!take(walk, close)) {
        do {
            if (!walk_item(walk))
                return false;
        } while (take(walk, ','));
        if (!take(walk, close))
            return false;
    }
    walk->depth--;
    return true;
}

/* A value and the space on both sides of it. */
static bool walk_value(struct walk *walk)
{
    bool good;

    skip_space(walk);
    if (walk->at == walk->end)
        return false;
    switch (*walk->at) {
    case '{':
        good = walk_container(walk, '}', walk_member);
        break;
    case '[':
        good = walk_container(walk, ']', walk_value);
        break;
    case '"':
        good = walk_string(walk);
        break;
    case 't':
        good = walk_word(walk, "true");
        break;
    case 'f':
        good = walk_word(walk, "false");
        break;
    case 'n':
        good = walk_word(walk, "null");
        break;
    default:
        good = walk_number(walk);
    }
    skip_space(walk);
    return good;
}

/* Members of all objects in the tree. */
static size_t count_members(struct json_object *value)
{
    size_t count = 0;

    if (json_object_is_type(value, json_type_array)) {
        size_t length = json_object_array_length(value);

        for (size_t i = 0; i < length; i++)
            count += count_members(json_object_array_get_idx(value, i));
    } else if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, member)
        {
            (void)key;
            count += 1 + count_members(member);
        }
    }
    return count;
}

static void release(void *object)
{
    json_object_put(object);
}

/* NULL when json-c refuses the text. */
static struct json_object *build(const char *text, size_t length)
{
    struct json_tokener *tokener = json_tokener_new_ex(TOKENER_DEPTH);
    struct json_object *object;

    if (tokener == NULL)
        return NULL;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    object = json_tokener_parse_ex(tokener, text, (int)length);
    if (json_tokener_get_error(tokener) != json_tokener_success) {
        json_object_put(object);
        object = NULL;
    }
    json_tokener_free(tokener);
    return object;
}

enum error json_parse(struct arena *arena, const char *text, size_t length, struct json_object **object)
{
    struct walk walk = {.at = text, .end = text + length};
    struct json_object *built;

    if (length > INT32_MAX)
        return E_MALFORMED_JSON;
    skip_space(&walk);
    text = walk.at;
    if (walk.at == walk.end || *walk.at != '{' || !walk_container(&walk, '}', walk_member))
        return E_MALFORMED_JSON;
    length = (size_t)(walk.at - text);
    skip_space(&walk);
    if (walk.at != walk.end)
        return E_MALFORMED_JSON;

    built = build(text, length);
    if (built == NULL)
        return E_MALFORMED_JSON;
    arena_defer(arena, release, built);
    if (count_members(built) != walk.members)
        return E_MALFORMED_JSON;
    *object = built;
    return OK;
}

/* json-c clamps: an integer above UINT64_MAX reads as that, one below INT64_MIN as INT64_MIN. So INT64_MIN itself
 * cannot be told from something smaller and counts as out of range; what lies above INT64_MAX shows in the unsigned
 * reading. */
static enum json_find read_int(struct json_object *member, int64_t min, int64_t max, int64_t *value)
{
    int64_t number;

    if (!json_object_is_type(member, json_type_int))
        return JSON_WRONG_TYPE;
    number = json_object_get_int64(member);
    if (number == INT64_MIN || (number == INT64_MAX && json_object_get_uint64(member) > (uint64_t)INT64_MAX))
        return JSON_OUT_OF_RANGE;
    if (number < min || number > max)
        return JSON_OUT_OF_RANGE;
    *value = number;
    return JSON_FOUND;
}

enum json_find json_get_int(struct json_object *object, const char *name, int64_t min, int64_t max, int64_t *value)
{
    struct json_object *member;

    if (!json_object_object_get_ex(object, name, &member))
        return JSON_MISSING;
    return read_int(member, min, max, value);
}

enum json_find json_get_string(struct json_object *object, const char *name, const char **value, size_t *length)
{
    struct json_object *member;

    if (!json_object_object_get_ex(object, name, &member))
        return JSON_MISSING;
    if (!json_object_is_type(member, json_type_string))
        return JSON_WRONG_TYPE;
    *value = json_object_get_string(member);
    *length = (size_t)json_object_get_string_len(member);
    return JSON_FOUND;
}

enum json_find json_get_ids(struct arena *arena, struct json_object *object, const char *name, size_t min_count,
                            size_t max_count, int64_t **ids, size_t *count)
{
    struct json_object *member;
    size_t length;
    int64_t *copy;

    if (!json_object_object_get_ex(object, name, &member))
        return JSON_MISSING;
    if (!json_object_is_type(member, json_type_array))
        return JSON_WRONG_TYPE;
    length = json_object_array_length(member);
    if (length < min_count || length > max_count)
        return JSON_OUT_OF_RANGE;
    copy = arena_array(arena, length, sizeof *copy);
    for (size_t i = 0; i < length; i++) {
        enum json_find found = read_int(json_object_array_get_idx(member, i), 1, INT64_MAX, &copy[i]);

        if (found != JSON_FOUND)
            return found;
    }
    *ids = copy;
    *count = length;
    return JSON_FOUND;
}

/* How a byte below 0x80 is written inside a string: 0 as it is, 'u' as \u00xx, else the letter behind a backslash. */
// clang-format off
static const char escapes[128] = {
    ['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
    [0x00] = 'u', [0x01] = 'u', [0x02] = 'u', [0x03] = 'u', [0x04] = 'u', [0x05] = 'u', [0x06] = 'u', [0x07] = 'u',
    [0x0b] = 'u', [0x0e] = 'u', [0x0f] = 'u', [0x10] = 'u', [0x11] = 'u', [0x12] = 'u', [0x13] = 'u', [0x14] = 'u',
    [0x15] = 'u', [0x16] = 'u', [0x17] = 'u', [0x18] = 'u', [0x19] = 'u', [0x1a] = 'u', [0x1b] = 'u', [0x1c] = 'u',
    [0x1d] = 'u', [0x1e] = 'u', [0x1f] = 'u',
};
// clang-format on

static void put_escaped(struct buf *buf, unsigned char c)
{
    if (c >= 0x80) {
        buf_add(buf, "\xEF\xBF\xBD", 3); /* U+FFFD */
        return;
    }
    buf_putc(buf, '\\');
    buf_putc(buf, escapes[c]);
    if (escapes[c] == 'u') {
        char hex[3];

        hex_encode(&c, 1, hex);
        buf_add(buf, "00", 2);
        buf_add(buf, hex, 2);
    }
}

void json_put_string_n(struct buf *buf, const char *text, size_t length)
{
    size_t plain = 0; /* text[plain .. i) can be copied as it is */
    size_t i = 0;

    if (text == NULL) {
        buf_add(buf, "null", 4);
        return;
    }
    buf_putc(buf, '"');
    while (i < length) {
        unsigned char c = (unsigned char)text[i];
        size_t size = c >= 0x80 ? utf8_sequence(text + i, length - i) : escapes[c] == 0;

        if (size > 0) {
            i += size;
            continue;
        }
        buf_add(buf, text + plain, i - plain);
        put_escaped(buf, c);
        plain = ++i;
    }
    buf_add(buf, text + plain, length - plain);
    buf_putc(buf, '"');
}

void json_put_string(struct buf *buf, const char *text)
{
    json_put_string_n(buf, text, text == NULL ? 0 : strlen(text));
}

void json_put_time(struct buf *buf, int64_t time)
{
    char text[CLOCK_TEXT_SIZE];

    if (time == 0) {
        buf_add(buf, "null", 4);
        return;
    }
    clock_format(time, text);
    buf_putc(buf, '"');
    buf_puts(buf, text);
    buf_putc(buf, '"');
}
