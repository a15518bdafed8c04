/* exchange: what handlers read from queries, bodies and conditional headers, and how they note what is wrong. */
#include "api/exchange.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

static struct arena *arena;
static struct request request;
static struct reply reply;
static struct exchange x;

static void set_up(void)
{
    arena = arena_new(4096);
    request = (struct request){.arena = arena, .query = "", .body = "", .id = "r"};
    x = (struct exchange){.arena = arena, .request = &request, .reply = &reply};
    buf_init(&x.fields, arena, 16);
    buf_init(&reply.headers, arena, 16);
    buf_init(&reply.body, arena, 16);
}

static void tear_down(void)
{
    arena_free(arena);
}

TestSuite(exchange, .init = set_up, .fini = tear_down);

static void forget_fields(void)
{
    buf_init(&x.fields, arena, 16);
}

static void expect_field(const char *name, const char *what)
{
    cr_assert_eq(exchange_valid(&x), E_INVALID_REQUEST, "%s", what);
    const char *start = arena_printf(arena, "{\"field\":\"%s\",\"message\":\"", name);
    cr_assert_not_null(strstr(x.fields.data, start), "%s: %s", what, x.fields.data);
    forget_fields();
}

/* ---- query ---- */

Test(exchange, query_values)
{
    static const struct {
        const char *query, *value; /* of a */
    } good[] = {
        {"", NULL},
        {"b=1", NULL},
        {"A=1", NULL},
        {"ab=1", NULL},
        {"=1", NULL},
        {"&&&", NULL},
        {"%6=1", NULL}, /* a name that cannot be decoded is nobody's */
        {"%00=1", NULL},
        {"a=1", "1"},
        {"a", ""},
        {"a=", ""},
        {"a=1&b=2", "1"},
        {"b=2&a=1", "1"},
        {"&&a=1&", "1"},
        {"%61=1", "1"},
        {"a=b=c", "b=c"},
        {"a=1;b=2", "1;b=2"},
        {"a=1+2", "1 2"},
        {"a=%2B", "+"},
        {"a=%41%4a%4A", "AJJ"},
        {"a=%26%3D", "&="},
        {"a=%c3%A9", "\xc3\xa9"},
        {"a=%0a", "\n"},
        {"a=%25", "%"},
        {"a=%2561", "%61"}, /* decoded once */
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        request.query = good[i].query;
        const char *value = exchange_query(&x, "a");
        cr_assert_eq(exchange_valid(&x), OK, "%s: %s", good[i].query, x.fields.data);
        if (good[i].value)
            cr_assert_str_eq(value, good[i].value, "%s", good[i].query);
        else
            cr_assert_null(value, "%s", good[i].query);
    }
}

Test(exchange, query_errors)
{
    static const char *const bad[] = {"a=1&a=1", "a=1&b=2&a=3", "a&a",       "a=1&%61=2", "a=%",      "a=%4",
                                      "a=%zz",   "a=%4z",       "a=%z4",     "a=%00",     "a=x%00y",  "a=1%2",
                                      "a=%%41",  "a=% 41",      "a=%zz&a=1", "a=%+1",     "a=%-1&b=", "a=%4&1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        request.query = bad[i];
        cr_assert_not_null(exchange_query(&x, "a"), "%s", bad[i]);
        expect_field("a", bad[i]);
    }
}

Test(exchange, query_integers)
{
    static const struct {
        const char *query;
        int64_t value;
    } good[] = {{"", 7}, {"b=3", 7}, {"n=1", 1}, {"n=100", 100}, {"n=%35", 5}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        request.query = good[i].query;
        cr_assert_eq(exchange_query_int(&x, "n", 1, 100, 7), good[i].value, "%s", good[i].query);
        cr_assert_eq(exchange_valid(&x), OK);
    }
    static const char *const bad[] = {"n",
                                      "n=",
                                      "n=0",
                                      "n=101",
                                      "n=-1",
                                      "n=+1",
                                      "n= 1",
                                      "n=1+",
                                      "n=01",
                                      "n=1.0",
                                      "n=1e1",
                                      "n=x",
                                      "n=1x",
                                      "n=0x1",
                                      "n=true",
                                      "n=1&n=1",
                                      "n=1,000",
                                      "n=%D9%A1",
                                      "n=99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        request.query = bad[i];
        (void)exchange_query_int(&x, "n", 1, 100, 7);
        expect_field("n", bad[i]);
    }
    request.query = "n=9223372036854775807";
    cr_assert_eq(exchange_query_int(&x, "n", 0, INT64_MAX, 0), INT64_MAX);
    cr_assert_eq(exchange_valid(&x), OK);
    request.query = "n=9223372036854775808";
    (void)exchange_query_int(&x, "n", 0, INT64_MAX, 0);
    expect_field("n", "one too many");
}

Test(exchange, query_booleans)
{
    cr_assert_not(exchange_query_bool(&x, "all"));
    request.query = "all=false";
    cr_assert_not(exchange_query_bool(&x, "all"));
    request.query = "all=true";
    cr_assert(exchange_query_bool(&x, "all"));
    request.query = "all=%74rue";
    cr_assert(exchange_query_bool(&x, "all"));
    cr_assert_eq(exchange_valid(&x), OK);
    static const char *const bad[] = {"all", "all=", "all=1", "all=TRUE", "all=yes", "all=true+", "all=true&all=true"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        request.query = bad[i];
        (void)exchange_query_bool(&x, "all");
        expect_field("all", bad[i]);
    }
}

/* ---- body ---- */

static void body(const char *text)
{
    cr_assert_eq(json_parse(arena, text, strlen(text), &x.body), OK, "%s", text);
}

Test(exchange, body_integers)
{
    body("{\"n\":1}");
    cr_assert_eq(exchange_body_int(&x, "n", 1, 10), 1);
    body("{\"n\":10}");
    cr_assert_eq(exchange_body_int(&x, "n", 1, 10), 10);
    body("{\"n\":9223372036854775807}");
    cr_assert_eq(exchange_body_int(&x, "n", 1, INT64_MAX), INT64_MAX);
    cr_assert_eq(exchange_valid(&x), OK);

    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{}", "is required"},
        {"{\"N\":1}", "is required"},
        {"{\"n\":null}", "must be an integer"},
        {"{\"n\":\"1\"}", "must be an integer"},
        {"{\"n\":true}", "must be an integer"},
        {"{\"n\":1.0}", "must be an integer"},
        {"{\"n\":1e0}", "must be an integer"},
        {"{\"n\":[1]}", "must be an integer"},
        {"{\"n\":{}}", "must be an integer"},
        {"{\"n\":0}", "must be from 1 to 10"},
        {"{\"n\":11}", "must be from 1 to 10"},
        {"{\"n\":-1}", "must be from 1 to 10"},
        {"{\"n\":9223372036854775808}", "must be from 1 to 10"},
        {"{\"n\":-9223372036854775809}", "must be from 1 to 10"},
        {"{\"n\":100000000000000000000000000000000000000000}", "must be from 1 to 10"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        body(bad[i].text);
        cr_assert_eq(exchange_body_int(&x, "n", 1, 10), 0, "%s", bad[i].text);
        cr_assert_not_null(strstr(x.fields.data, bad[i].message), "%s: %s", bad[i].text, x.fields.data);
        expect_field("n", bad[i].text);
    }
}

Test(exchange, body_ids)
{
    int64_t *ids = NULL;
    body("{\"ids\":[9223372036854775807,3,1,2]}");
    cr_assert_eq(exchange_body_ids(&x, "ids", 4, &ids), 4);
    cr_assert(ids[0] == 1 && ids[1] == 2 && ids[2] == 3 && ids[3] == INT64_MAX, "sorted");
    body("{\"ids\":[5]}");
    cr_assert_eq(exchange_body_ids(&x, "ids", 1, &ids), 1);
    cr_assert_eq(exchange_valid(&x), OK);

    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{}", "is required"},
        {"{\"ids\":null}", "must be an array of integers"},
        {"{\"ids\":1}", "must be an array of integers"},
        {"{\"ids\":\"1\"}", "must be an array of integers"},
        {"{\"ids\":{\"0\":1}}", "must be an array of integers"},
        {"{\"ids\":[\"1\"]}", "must be an array of integers"},
        {"{\"ids\":[1,null]}", "must be an array of integers"},
        {"{\"ids\":[1.0]}", "must be an array of integers"},
        {"{\"ids\":[[1]]}", "must be an array of integers"},
        {"{\"ids\":[]}", "must be 1 to 4 ids"},
        {"{\"ids\":[1,2,3,4,5]}", "must be 1 to 4 ids"},
        {"{\"ids\":[0]}", "must be 1 to 4 ids"},
        {"{\"ids\":[1,-2]}", "must be 1 to 4 ids"},
        {"{\"ids\":[9223372036854775808]}", "must be 1 to 4 ids"},
        {"{\"ids\":[1,1]}", "must not name an id twice"},
        {"{\"ids\":[2,3,1,2]}", "must not name an id twice"},
        {"{\"ids\":[9223372036854775807,1,9223372036854775807]}", "must not name an id twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        body(bad[i].text);
        cr_assert_eq(exchange_body_ids(&x, "ids", 4, &ids), 0, "%s", bad[i].text);
        cr_assert_not_null(strstr(x.fields.data, bad[i].message), "%s: %s", bad[i].text, x.fields.data);
        expect_field("ids", bad[i].text);
    }
}

Test(exchange, all_wrong_fields_are_noted)
{
    body("{\"a\":\"x\"}");
    (void)exchange_body_int(&x, "a", 1, 2);
    (void)exchange_body_int(&x, "b", 1, 2);
    cr_assert_str_eq(x.fields.data, "{\"field\":\"a\",\"message\":\"must be an integer\"},"
                                    "{\"field\":\"b\",\"message\":\"is required\"}");
}

/* ---- If-None-Match ---- */

Test(exchange, if_none_match)
{
    static const char tag[] = "\"1795341512352.7.0\"";
    static const struct {
        const char *header;
        bool match;
    } cases[] = {
        {NULL, false},
        {"", false},
        {" ", false},
        {",", false},
        {"\"1795341512352.7.0\"", true},
        {" \t\"1795341512352.7.0\" ", true},
        {"W/\"1795341512352.7.0\"", true},
        {"*", true},
        {" * ", true},
        {"\"a\", \"1795341512352.7.0\"", true},
        {"\"a\",\"1795341512352.7.0\",\"b\"", true},
        {"W/\"a\", W/\"1795341512352.7.0\"", true},
        {"\"1795341512352.7.0\", \"a", true},
        {"\"1795341512352.7.00\"", false},
        {"\"1795341512352.7\"", false},
        {"\"1795341512352.7.0-all\"", false},
        {"1795341512352.7.0", false},
        {"\"1795341512352.7.0", false},
        {"1795341512352.7.0\"", false},
        {"w/\"1795341512352.7.0\"", false},
        {"W/", false},
        {"W/W/\"1795341512352.7.0\"", false},
        {"\"", false},
        {"\"\"", false},
        {"\"*\"", false},
        {"\"a,\\\"1795341512352.7.0\"", false},
        {"\"a, *\"", false}, /* a star within a tag */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        request.if_none_match = cases[i].header;
        cr_assert_eq(exchange_client_has(&x, tag), cases[i].match, "%s", cases[i].header ? cases[i].header : "none");
    }
}

/* ---- reply ---- */

Test(exchange, headers_and_body)
{
    static const char text[] = "{}";
    reply_json_kept(&x, 201, text, 2);
    reply_header(&x, "Location", "/v1/payments/%" PRId64, INT64_MAX);
    cr_assert_eq(reply.status, 201);
    cr_assert_eq(reply.kept, text);
    cr_assert_eq(reply.kept_length, 2);
    cr_assert_str_eq(reply.headers.data,
                     "Content-Type: application/json\r\nLocation: /v1/payments/9223372036854775807\r\n");
}
