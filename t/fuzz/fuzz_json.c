/* fuzz_json: our reader against json-c's, and our writer against both. Input: a text to read, and bytes to write as a
 * string. */
#include "fuzz.h"

#include "base/encode.h"
#include "base/json.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_house();
    return 0;
}

/* json-c's own strict reading of the whole text, or NULL. */
static struct json_object *read_by_json_c(const char *text, size_t length)
{
    struct json_tokener *tokener = json_tokener_new_ex(64);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)length);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    if (error == json_tokener_success && json_tokener_get_parse_end(tokener) < length) {
        const char *rest = text + json_tokener_get_parse_end(tokener);
        if (strspn(rest, " \t\r\n") < length - (size_t)(rest - text))
            error = json_tokener_error_parse_unexpected;
    }
    json_tokener_free(tokener);
    if (error == json_tokener_success)
        return object;
    json_object_put(object);
    return NULL;
}

/* A number as RFC 8259 has it: json-c also takes and keeps -.5 and 1. */
static bool is_number(const char *text)
{
    static const char digits[] = "0123456789";
    text += *text == '-';
    size_t whole = strspn(text, digits);
    if (whole == 0 || (*text == '0' && whole > 1))
        return false;
    text += whole;
    if (*text == '.') {
        size_t fraction = strspn(++text, digits);
        if (fraction == 0)
            return false;
        text += fraction;
    }
    if (*text == 'e' || *text == 'E') {
        text += 1 + (text[1] == '-' || text[1] == '+');
        size_t exponent = strspn(text, digits);
        return exponent > 0 && text[exponent] == '\0';
    }
    return *text == '\0';
}

/* Whether we rightly refuse what json-c writes: what is no JSON, and what json.h says that we refuse. */
static bool is_refused_rightly(struct json_object *object, int depth)
{
    bool refused = false;
    switch (json_object_get_type(object)) {
    case json_type_object: {
        json_object_object_foreach(object, key, member)
        {
            refused = refused || !utf8_valid(key, strlen(key)) || is_refused_rightly(member, depth + 1);
        }
        return refused || depth > 16;
    }
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(object); i++)
            refused = refused || is_refused_rightly(json_object_array_get_idx(object, i), depth + 1);
        return refused || depth > 16;
    case json_type_double:
        return !is_number(json_object_to_json_string(object));
    case json_type_string: {
        size_t length = (size_t)json_object_get_string_len(object);
        const char *text = json_object_get_string(object);
        return memchr(text, '\0', length) != NULL || !utf8_valid(text, length);
    }
    default:
        return false;
    }
}

static void read_text(const char *text, size_t length)
{
    struct arena *arena = fuzz_house()->arena;
    struct json_object *ours = NULL, *again, *theirs = read_by_json_c(text, length);
    if (json_parse(arena, text, length, &ours) == OK) {
        REQUIRE(theirs && json_object_is_type(theirs, json_type_object), "what we take is JSON to json-c");
        REQUIRE(json_object_equal(ours, theirs), "and the same");
        REQUIRE(utf8_valid(text, length) && !memchr(text, '\0', length), "and UTF-8");
    } else if (theirs && json_object_is_type(theirs, json_type_object) && !is_refused_rightly(theirs, 1)) {
        /* Not JSON as it stood (single quotes, duplicate keys); as json-c writes it, it is. */
        const char *plain = json_object_to_json_string_ext(theirs, JSON_C_TO_STRING_PLAIN);
        REQUIRE(json_parse(arena, plain, strlen(plain), &again) == OK, "what json-c writes is JSON to us");
    }
    json_object_put(theirs);
}

static void read_members(const char *text, size_t length)
{
    static const char *const names[] = {"a", "b", ""};
    struct arena *arena = fuzz_house()->arena;
    struct json_object *object, *member;
    if (json_parse(arena, text, length, &object) != OK)
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t value, *ids = NULL;
        const char *string;
        size_t size = 0;
        bool there = json_object_object_get_ex(object, names[i], &member);
        enum json_find found = json_get_int(object, names[i], -5, 1000, &value);
        REQUIRE((found == JSON_MISSING) == !there, "missing or not");
        REQUIRE(found != JSON_FOUND ||
                    (value >= -5 && value <= 1000 && strtoll(json_object_to_json_string(member), NULL, 10) == value),
                "an integer is what is written");
        found = json_get_string(object, names[i], &string, &size);
        REQUIRE(found != JSON_FOUND || (strlen(string) == size && utf8_valid(string, size)), "a string is a C string");
        found = json_get_ids(arena, object, names[i], 1, 8, &ids, &size);
        REQUIRE(found != JSON_FOUND || (size >= 1 && size <= 8 && size == json_object_array_length(member)), "as many");
        for (size_t j = 0; found == JSON_FOUND && j < size; j++)
            REQUIRE(ids[j] >= 1, "from 1 on");
    }
}

static void write_string(const char *bytes, size_t size)
{
    struct buf buf;
    struct json_object *object;
    const char *back;
    size_t length;
    buf_init(&buf, fuzz_house()->arena, 16);
    buf_puts(&buf, "{\"a\":");
    json_put_string_n(&buf, bytes, size);
    buf_puts(&buf, "}");
    bool has_nul = size && memchr(bytes, '\0', size);
    enum error error = json_parse(fuzz_house()->arena, buf.data, buf.length, &object);
    REQUIRE(has_nul || error == OK, "what we write is JSON");
    if (error != OK)
        return;
    REQUIRE(json_get_string(object, "a", &back, &length) == JSON_FOUND, "a string");
    REQUIRE(!utf8_valid(bytes, size) || (length == size && memcmp(back, bytes, size) == 0), "and the same");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    read_text(text, size);
    read_members(text, size);
    write_string(text, size);
    arena_reset(fuzz_house()->arena);
    return 0;
}
