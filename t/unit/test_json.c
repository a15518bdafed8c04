/* json: what is JSON and what only looks like it; members of the right type and range; writing. */
#include "base/json.h"

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

static struct arena *arena;
static struct buf buf;

static void set_up(void)
{
    arena = arena_new(4096);
    buf_init(&buf, arena, 0);
}

static void tear_down(void)
{
    arena_free(arena);
}

TestSuite(json, .init = set_up, .fini = tear_down);

static enum error parse_n(const char *text, size_t length)
{
    struct json_object *object = NULL;
    enum error error = json_parse(arena, text, length, &object);

    cr_assert_eq(error == OK, object != NULL);
    return error;
}

/* The object of a text that must be good. */
static struct json_object *parsed(const char *text)
{
    struct json_object *object = NULL;

    cr_assert_eq(json_parse(arena, text, strlen(text), &object), OK, "%s", text);
    return object;
}

Test(json, accepts)
{
    static const char *const good[] = {
        "{}",
        " \t\r\n{ } \n",
        "{\"a\":1}",
        "{ \"a\" : 1 , \"b\" : [ ] }",
        "{\"a\":[1,-1,0,-0,1.5,1e3,1E+3,1e-3,0.0,-0.1],\"b\":true,\"c\":false,\"d\":null}",
        "{\"a\":{\"a\":{\"a\":{}}},\"b\":{\"a\":1}}",
        "{\"a\":[{\"x\":1},{\"x\":1}]}",
        "{\"\":\"\"}",
        "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uD83C\\udfab\"}",
        "{\"공연\":\"\xf0\x9f\x8e\xab\"}",
        "{\"a\":\"\x7f\"}",
        "{\"a\":99999999999999999999999999999999}",
        "{\"a\":-99999999999999999999999999999999}",
        "{\"a\":1e400}",
    };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert_eq(parse_n(good[i], strlen(good[i])), OK, "%s", good[i]);
}

Test(json, refuses)
{
    static const char *const bad[] = {
        "",
        " ",
        "}",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{\"a\" 1}",
        "{\"a\":,}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{1:1}",
        "{'a':1}",
        "{\"a\":'b'}",
        "{\"a\":1}x",
        "{\"a\":1}{}",
        "{\"a\":1},",
        "[]",
        "[1]",
        "1",
        "\"a\"",
        "true",
        "null",
        "\xef\xbb\xbf{}",
        "{\"a\":NaN}",
        "{\"a\":nan}",
        "{\"a\":Infinity}",
        "{\"a\":-Infinity}",
        "{\"a\":-NaN}",
        "{\"a\":inf}",
        "{\"a\":True}",
        "{\"a\":TRUE}",
        "{\"a\":tru}",
        "{\"a\":nul}",
        "{\"a\":nulll}",
        "{\"a\":NULL}",
        "/**/{}",
        "{}//",
        "{\"a\":/*x*/1}",
        "{//\n}",
        "#{}",
        "{\"a\":01}",
        "{\"a\":-01}",
        "{\"a\":+1}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":1.e1}",
        "{\"a\":0x10}",
        "{\"a\":1_000}",
        "{\"a\":--1}",
        "{\"a\":1 2}",
        "{\"a\":- 1}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{\"a\":[1 2]}",
        "{\"a\":[1}",
        "{\"a\":[1}]",
        "{\"a\":{]}",
        "{\"a\":]}",
        "{\"a\":\"}",
        "{\"a\":\"b}",
        "{\"a\":\"\\\"}",
        "{\"a\":\"\\x41\"}",
        "{\"a\":\"\\'\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\U0041\"}",
        "{\"a\":\"\\\n\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\x1f\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\\u0000\":1}",
        "{\"a\":1\v}",
        "{\"a\":1\f}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xc0\xaf\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":\"\xf4\x90\x80\x80\"}",
        "{\"a\":\"\xe2\x82\"}",
        "{\"\xff\":1}",
        "{\"a\":\"\x80\"}",
        "{\"a\":1}\xff",
        "{\xc2\xa0\"a\":1}",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(parse_n(bad[i], strlen(bad[i])), E_MALFORMED_JSON, "%s", bad[i]);
}

Test(json, refuses_duplicate_keys_at_every_level)
{
    static const char *const bad[] = {
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"b\":2,\"a\":3}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"x\":{\"a\":1,\"a\":2}}",
        "{\"x\":[[{\"a\":1,\"b\":1,\"a\":2}]]}",
        "{\"a\":{\"x\":1},\"a\":{\"x\":1,\"y\":2}}",
        "{\"a\":{\"x\":1,\"y\":2,\"z\":3},\"a\":null}",
        "{\"\":1,\"\":2}",
        "{\"\\uD83C\\uDFAB\":1,\"\xf0\x9f\x8e\xab\":2}",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(parse_n(bad[i], strlen(bad[i])), E_MALFORMED_JSON, "%s", bad[i]);
    cr_assert_eq(parse_n("{\"a\":1,\"A\":1}", 13), OK);
}

Test(json, refuses_every_beginning_of_a_good_text)
{
    const char good[] = "{\"a\":[1,-2.5e+3,{\"b\":\"\\u00e9\\n공\"},true,null],\"c\":\"\xf0\x9f\x8e\xab\"}";

    for (size_t length = 0; length < sizeof good - 1; length++)
        cr_assert_eq(parse_n(good, length), E_MALFORMED_JSON, "%.*s", (int)length, good);
    cr_assert_eq(parse_n(good, sizeof good - 1), OK);
}

Test(json, a_nul_is_no_end)
{
    cr_assert_eq(parse_n("{}\0", 3), E_MALFORMED_JSON);
    cr_assert_eq(parse_n("\0{}", 3), E_MALFORMED_JSON);
    cr_assert_eq(parse_n("{\"a\":\"\0\"}", 9), E_MALFORMED_JSON);
    cr_assert_eq(parse_n("{\"a\":\"\\\0\"}", 10), E_MALFORMED_JSON);
    cr_assert_eq(parse_n("{\"a\":1\0}", 8), E_MALFORMED_JSON);
}

static enum error parse_nested(int depth, const char *innermost)
{
    buf_init(&buf, arena, 0);
    buf_puts(&buf, "{\"a\":");
    for (int i = 1; i < depth; i++)
        buf_putc(&buf, '[');
    buf_puts(&buf, innermost);
    for (int i = 1; i < depth; i++)
        buf_putc(&buf, ']');
    buf_putc(&buf, '}');
    return parse_n(buf.data, buf.length);
}

Test(json, depth_sixteen_and_no_more)
{
    cr_assert_eq(parse_nested(16, "1"), OK);
    cr_assert_eq(parse_nested(16, "{}"), E_MALFORMED_JSON);
    cr_assert_eq(parse_nested(17, "1"), E_MALFORMED_JSON);
    cr_assert_eq(parse_nested(5000, "1"), E_MALFORMED_JSON);
}

Test(json, depth_counts_only_what_is_open)
{
    buf_puts(&buf, "{\"a\":[");
    for (int i = 0; i < 100; i++)
        buf_puts(&buf, "[[]],{},");
    buf_puts(&buf, "1]}");
    cr_assert_eq(parse_n(buf.data, buf.length), OK);
}

static enum json_find get_int(const char *text, int64_t min, int64_t max, int64_t *value)
{
    return json_get_int(parsed(text), "n", min, max, value);
}

Test(json, integers)
{
    int64_t value = 42;

    cr_assert_eq(get_int("{\"n\":7}", 1, 10, &value), JSON_FOUND);
    cr_assert_eq(value, 7);
    cr_assert_eq(get_int("{\"n\":-7}", -10, 10, &value), JSON_FOUND);
    cr_assert_eq(value, -7);
    cr_assert_eq(get_int("{\"n\":1}", 1, 1, &value), JSON_FOUND);
    cr_assert_eq(get_int("{\"n\":0}", 1, 10, &value), JSON_OUT_OF_RANGE);
    cr_assert_eq(get_int("{\"n\":11}", 1, 10, &value), JSON_OUT_OF_RANGE);
    cr_assert_eq(get_int("{\"m\":1}", 1, 10, &value), JSON_MISSING);
    cr_assert_eq(get_int("{\"x\":{\"n\":1}}", 1, 10, &value), JSON_MISSING);
    cr_assert_eq(value, 1, "a refusal leaves the value alone");
}

Test(json, integers_at_the_limits)
{
    int64_t value = 42;

    cr_assert_eq(get_int("{\"n\":9223372036854775807}", INT64_MIN, INT64_MAX, &value), JSON_FOUND);
    cr_assert_eq(value, INT64_MAX);
    cr_assert_eq(get_int("{\"n\":-9223372036854775807}", INT64_MIN, INT64_MAX, &value), JSON_FOUND);
    cr_assert_eq(value, -INT64_MAX);
}

Test(json, integers_beyond_the_limits_are_not_clamped)
{
    static const char *const beyond[] = {
        "{\"n\":9223372036854775808}",
        "{\"n\":18446744073709551615}",
        "{\"n\":18446744073709551616}",
        "{\"n\":36893488147419103233}",
        "{\"n\":-9223372036854775809}",
        "{\"n\":-36893488147419103233}",
        "{\"n\":99999999999999999999999999999999999999999999999999999999}",
    };
    int64_t value = 42;

    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++)
        cr_assert_eq(get_int(beyond[i], INT64_MIN, INT64_MAX, &value), JSON_OUT_OF_RANGE, "%s", beyond[i]);
    cr_assert_eq(value, 42);
}

Test(json, what_is_no_integer)
{
    static const char *const values[] = {"1.0",  "1e0",   "1E2",  "1.9", "-1.0", "\"1\"", "\"\"",
                                         "true", "false", "null", "[]",  "[1]",  "{}",    "{\"n\":1}"};
    int64_t value = 42;

    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[64];

        snprintf(text, sizeof text, "{\"n\":%s}", values[i]);
        cr_assert_eq(get_int(text, INT64_MIN, INT64_MAX, &value), JSON_WRONG_TYPE, "%s", text);
    }
    cr_assert_eq(value, 42);
}

Test(json, strings)
{
    const char *value = NULL;
    size_t length = 0;

    cr_assert_eq(json_get_string(parsed("{\"s\":\"a\\nb\\u00e9\"}"), "s", &value, &length), JSON_FOUND);
    cr_assert_eq(length, 5);
    cr_assert_str_eq(value, "a\nb\xc3\xa9");
    cr_assert_eq(json_get_string(parsed("{\"s\":\"\"}"), "s", &value, &length), JSON_FOUND);
    cr_assert_eq(length, 0);
    cr_assert_eq(json_get_string(parsed("{\"s\":1}"), "s", &value, &length), JSON_WRONG_TYPE);
    cr_assert_eq(json_get_string(parsed("{\"s\":null}"), "s", &value, &length), JSON_WRONG_TYPE);
    cr_assert_eq(json_get_string(parsed("{\"s\":[\"a\"]}"), "s", &value, &length), JSON_WRONG_TYPE);
    cr_assert_eq(json_get_string(parsed("{}"), "s", &value, &length), JSON_MISSING);
}

static enum json_find get_ids(const char *text, int64_t **ids, size_t *count)
{
    return json_get_ids(arena, parsed(text), "ids", 1, 4, ids, count);
}

Test(json, ids)
{
    int64_t *ids = NULL;
    size_t count = 0;

    cr_assert_eq(get_ids("{\"ids\":[7,8,9223372036854775807,7]}", &ids, &count), JSON_FOUND);
    cr_assert_eq(count, 4);
    cr_assert_eq(ids[0], 7);
    cr_assert_eq(ids[1], 8);
    cr_assert_eq(ids[2], INT64_MAX);
    cr_assert_eq(ids[3], 7, "duplicates are the caller's business");
}

Test(json, ids_refusals)
{
    static const struct {
        const char *text;
        enum json_find expected;
    } rows[] = {
        {"{}", JSON_MISSING},
        {"{\"ids\":[]}", JSON_OUT_OF_RANGE},
        {"{\"ids\":[1,2,3,4,5]}", JSON_OUT_OF_RANGE},
        {"{\"ids\":[0]}", JSON_OUT_OF_RANGE},
        {"{\"ids\":[1,-1]}", JSON_OUT_OF_RANGE},
        {"{\"ids\":[9223372036854775808]}", JSON_OUT_OF_RANGE},
        {"{\"ids\":[99999999999999999999]}", JSON_OUT_OF_RANGE},
        {"{\"ids\":1}", JSON_WRONG_TYPE},
        {"{\"ids\":\"1\"}", JSON_WRONG_TYPE},
        {"{\"ids\":null}", JSON_WRONG_TYPE},
        {"{\"ids\":{\"0\":1}}", JSON_WRONG_TYPE},
        {"{\"ids\":[1.0]}", JSON_WRONG_TYPE},
        {"{\"ids\":[\"1\"]}", JSON_WRONG_TYPE},
        {"{\"ids\":[1,null]}", JSON_WRONG_TYPE},
        {"{\"ids\":[[1]]}", JSON_WRONG_TYPE},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t *ids = NULL;
        size_t count = 99;

        cr_assert_eq(get_ids(rows[i].text, &ids, &count), rows[i].expected, "%s", rows[i].text);
        cr_assert_eq(count, 99);
    }
}

Test(json, ids_may_be_none_where_allowed)
{
    int64_t *ids = NULL;
    size_t count = 99;

    cr_assert_eq(json_get_ids(arena, parsed("{\"ids\":[]}"), "ids", 0, 4, &ids, &count), JSON_FOUND);
    cr_assert_eq(count, 0);
}

static void expect_string(const char *text, size_t length, const char *expected)
{
    buf_init(&buf, arena, 0);
    json_put_string_n(&buf, text, length);
    cr_assert_str_eq(buf.data, expected);
}

Test(json, put_string_escapes)
{
    expect_string("", 0, "\"\"");
    expect_string("seat A-1", 8, "\"seat A-1\"");
    expect_string("\"\\/", 3, "\"\\\"\\\\/\"");
    expect_string("\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"");
    expect_string("a\0b\x1f\x7f", 5, "\"a\\u0000b\\u001f\x7f\"");
    expect_string("공연\xf0\x9f\x8e\xab!", strlen("공연\xf0\x9f\x8e\xab!"), "\"공연\xf0\x9f\x8e\xab!\"");
}

Test(json, put_string_replaces_bad_utf8)
{
    expect_string("a\xff"
                  "b",
                  3,
                  "\"a\xef\xbf\xbd"
                  "b\"");
    expect_string("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_string("\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_string("\xe2\x82\xac", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* Whatever is written can be read again: every byte, alone and between others. */
Test(json, put_string_always_writes_json)
{
    for (int c = 1; c < 256; c++) {
        char text[4] = {'a', (char)c, 'z', '\0'};
        const char *value;
        size_t length;

        buf_init(&buf, arena, 0);
        buf_puts(&buf, "{\"s\":");
        json_put_string(&buf, text);
        buf_putc(&buf, '}');
        cr_assert_eq(json_get_string(parsed(buf.data), "s", &value, &length), JSON_FOUND);
        cr_assert_str_eq(value, c < 0x80 ? text : "a\xef\xbf\xbdz");
    }
}

Test(json, put_null_and_time)
{
    json_put_string(&buf, NULL);
    json_put_string_n(&buf, NULL, 0);
    json_put_time(&buf, 0);
    json_put_time(&buf, INT64_C(1795348800123456));
    cr_assert_str_eq(buf.data, "nullnullnull\"2026-11-22T12:00:00.123Z\"");
}
