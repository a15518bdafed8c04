/* api: whole requests through api_handle(), as far as they come without PostgreSQL and Redis: what is refused before,
 * in which order, and that a store which does not answer is a 503. */
#include "office.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static struct office office;

static void set_up(void)
{
    office_open(&office);
}

static void tear_down(void)
{
    office_close(&office);
}

TestSuite(api, .init = set_up, .fini = tear_down);

/* A POST that lacks nothing: what a test takes away is what is missing. */
static void good_post(const char *path, const char *body)
{
    office.request.method = METHOD_POST;
    office.request.method_name = "POST";
    office.request.path = path;
    office.request.authorization = office_bearer(&office, 7);
    office.request.queue_token = office_queue_token(&office, 7, 1);
    office.request.idempotency_key = "key";
    office.request.content_type = "application/json";
    office.request.body = body;
    office.request.body_length = strlen(body);
    office.request.content_length = strlen(body);
}

static const struct {
    const char *path, *body;
    bool gated, needs_key;
} posts[] = {
    {"/v1/reservations", "{\"schedule_id\":1,\"seat_ids\":[1]}", true, false},
    {"/v1/payments", "{\"reservation_id\":1}", true, false},
    {"/v1/balance/charges", "{\"amount\":1}", false, true},
};
#define POST_COUNT (sizeof posts / sizeof *posts)

static const char *const gated_reads[] = {"/v1/concerts", "/v1/concerts/1", "/v1/concerts/1/schedules",
                                          "/v1/schedules/1/seats"};
static const char *const own_reads[] = {"/v1/reservations", "/v1/reservations/1", "/v1/balance", "/v1/balance/entries",
                                        "/v1/payments/1"};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- no store is asked ---- */

Test(api, alive)
{
    office_get(&office, METHOD_GET, "/healthz");
    cr_assert_eq(office.reply.status, 200);
    cr_assert_str_eq(office.reply.body.data, "{\"status\":\"alive\"}");
    cr_assert_str_eq(office.reply.route, "/healthz");
    cr_assert_str_eq(office.reply.code, "-");
    cr_assert_eq(office.reply.user, 0);
    office_get(&office, METHOD_HEAD, "/healthz");
    cr_assert_eq(office.reply.status, 200);
}

Test(api, unknown_paths)
{
    office_get(&office, METHOD_GET, "/v1/nothing");
    office_expect_problem(&office, 404, "not-found");
    cr_assert_str_eq(office.reply.route, "-");
    office_get(&office, METHOD_OTHER, "/v1/concerts/0");
    office_expect_problem(&office, 404, "not-found");
}

Test(api, unknown_methods)
{
    office_get(&office, METHOD_DELETE, "/v1/reservations");
    office_expect_problem(&office, 405, "method-not-allowed");
    cr_assert_str_eq(office_header(&office, "Allow"), "Allow: GET, HEAD, POST");
    office_get(&office, METHOD_OTHER, "/v1/queue/tokens/me");
    office_expect_problem(&office, 405, "method-not-allowed");
    cr_assert_str_eq(office_header(&office, "Allow"), "Allow: GET, HEAD, DELETE");
    office_get(&office, METHOD_GET, "/v1/queue/tokens");
    cr_assert_str_eq(office_header(&office, "Allow"), "Allow: POST");
}

Test(api, who_is_calling)
{
    const char *good = office_bearer(&office, 7);
    const char *const bad[] = {NULL,
                               "",
                               "Bearer",
                               "Bearer ",
                               "Basic dXNlcjpwYXNz",
                               good + 7,
                               arena_printf(office.arena, "%s,%s", good, good),
                               arena_printf(office.arena, "%s ", good),
                               arena_printf(office.arena, "Bearer\t%s", good + 7)};
    for (size_t i = 0; i < COUNT(bad); i++) {
        office.request.authorization = bad[i];
        office_get(&office, METHOD_GET, "/v1/balance");
        office_expect_problem(&office, 401, "unauthenticated");
        cr_assert_not_null(office_header(&office, "WWW-Authenticate"));
        cr_assert_eq(office.reply.user, 0);
    }
    const char *const schemes[] = {good, arena_printf(office.arena, "bearer   %s", good + 7)};
    for (size_t i = 0; i < COUNT(schemes); i++) {
        office.request.authorization = schemes[i];
        office_get(&office, METHOD_GET, "/v1/balance");
        cr_assert_eq(office.reply.status, 503, "known, and then PostgreSQL does not answer");
        cr_assert_eq(office.reply.user, 7);
    }
}

Test(api, everything_personal_needs_a_user)
{
    office.request.queue_token = office_queue_token(&office, 7, 1);
    for (size_t i = 0; i < COUNT(gated_reads); i++) {
        office_get(&office, METHOD_GET, gated_reads[i]);
        office_expect_problem(&office, 401, "unauthenticated");
    }
    for (size_t i = 0; i < COUNT(own_reads); i++) {
        office_get(&office, METHOD_GET, own_reads[i]);
        office_expect_problem(&office, 401, "unauthenticated");
    }
    office_get(&office, METHOD_DELETE, "/v1/reservations/1");
    office_expect_problem(&office, 401, "unauthenticated");
    office_get(&office, METHOD_POST, "/v1/queue/tokens");
    office_expect_problem(&office, 401, "unauthenticated");
    for (size_t i = 0; i < POST_COUNT; i++) {
        good_post(posts[i].path, posts[i].body);
        office.request.authorization = NULL;
        office_ask(&office);
        office_expect_problem(&office, 401, "unauthenticated");
    }
}

Test(api, gated_operations_need_a_queue_token)
{
    office.request.authorization = office_bearer(&office, 7);
    for (size_t i = 0; i < COUNT(gated_reads); i++) {
        office.request.queue_token = NULL;
        office_get(&office, METHOD_GET, gated_reads[i]);
        office_expect_problem(&office, 401, "queue-token-required");
        office.request.queue_token = "AAAAAAAAAAAAAAAAAAAAAB";
        office_get(&office, METHOD_GET, gated_reads[i]);
        office_expect_problem(&office, 401, "queue-token-invalid");
    }
    for (size_t i = 0; i < POST_COUNT; i++) {
        good_post(posts[i].path, posts[i].body);
        office.request.queue_token = NULL;
        office_ask(&office);
        if (posts[i].gated)
            office_expect_problem(&office, 401, "queue-token-required");
        else
            office_expect_problem(&office, 503, "unavailable");
    }
}

Test(api, ones_own_token)
{
    office_get(&office, METHOD_GET, "/v1/queue/tokens/me");
    office_expect_problem(&office, 401, "queue-token-required");
    office_get(&office, METHOD_DELETE, "/v1/queue/tokens/me");
    office_expect_problem(&office, 401, "queue-token-required");
    office.request.queue_token = "nonsense";
    office_get(&office, METHOD_GET, "/v1/queue/tokens/me");
    office_expect_problem(&office, 404, "queue-token-invalid");
    cr_assert_null(office_header(&office, "WWW-Authenticate"));
    office_get(&office, METHOD_DELETE, "/v1/queue/tokens/me");
    cr_assert_eq(office.reply.status, 204, "whatever it was");
    cr_assert_eq(office.reply.body.length, 0);
}

Test(api, bodies)
{
    for (size_t i = 0; i < POST_COUNT; i++) {
        static const char *const other_types[] = {NULL,
                                                  "text/plain",
                                                  "application/jsonp",
                                                  "application/json5",
                                                  "text/json",
                                                  "",
                                                  "application/x-www-form-urlencoded",
                                                  "application"};
        for (size_t t = 0; t < COUNT(other_types); t++) {
            good_post(posts[i].path, posts[i].body);
            office.request.content_type = other_types[t];
            office_ask(&office);
            office_expect_problem(&office, 415, "unsupported-media-type");
        }
        static const char *const malformed[] = {"",
                                                "{",
                                                "[]",
                                                "null",
                                                "{}{}",
                                                "{'a':1}",
                                                "{\"a\":NaN}",
                                                "{\"a\":1,\"a\":1}",
                                                "x",
                                                "\"\"",
                                                "{\"a\":\"\xff\"}",
                                                "{,}"};
        for (size_t m = 0; m < COUNT(malformed); m++) {
            good_post(posts[i].path, malformed[m]);
            office_ask(&office);
            office_expect_problem(&office, 400, "malformed-json");
        }
        good_post(posts[i].path, "{}");
        office_ask(&office);
        office_expect_problem(&office, 400, "invalid-request");
        cr_assert_not_null(strstr(office.reply.body.data, "\"errors\":[{\"field\":"));

        good_post(posts[i].path, "");
        office.request.content_length = REQUEST_BODY_MAX + 1;
        office_ask(&office);
        office_expect_problem(&office, 413, "content-too-large");
        office.request.content_length = UINT64_MAX;
        office_ask(&office);
        office_expect_problem(&office, 413, "content-too-large");
    }
}

Test(api, media_types)
{
    static const char *const json[] = {"application/json", "Application/JSON", "application/json; charset=utf-8",
                                       "application/json;charset=UTF-8", "application/json ; x=y"};
    for (size_t i = 0; i < COUNT(json); i++) {
        good_post("/v1/balance/charges", "{}");
        office.request.content_type = json[i];
        office_ask(&office);
        office_expect_problem(&office, 400, "invalid-request");
    }
}

Test(api, idempotency_keys)
{
    char longest[256], longer[257];
    memset(longest, 'k', 255);
    longest[255] = '\0';
    memset(longer, 'k', 256);
    longer[256] = '\0';
    const char *const bad[] = {"", longer, "a\tb", "a\x7f", "a\x01", "schl\xc3\xbcssel", "\xff"};
    const char *const good[] = {"k", longest, " ", "~", "a b\"c"};
    for (size_t i = 0; i < POST_COUNT; i++) {
        good_post(posts[i].path, posts[i].body);
        office.request.idempotency_key = NULL;
        office_ask(&office);
        if (posts[i].needs_key)
            office_expect_problem(&office, 400, "idempotency-key-required");
        else
            office_expect_problem(&office, 503, "unavailable");
        for (size_t k = 0; k < COUNT(bad); k++) {
            good_post(posts[i].path, posts[i].body);
            office.request.idempotency_key = bad[k];
            office_ask(&office);
            office_expect_problem(&office, 400, "invalid-request");
            cr_assert_not_null(strstr(office.reply.body.data, "{\"field\":\"Idempotency-Key\""));
        }
        for (size_t k = 0; k < COUNT(good); k++) {
            good_post(posts[i].path, posts[i].body);
            office.request.idempotency_key = good[k];
            office_ask(&office);
            office_expect_problem(&office, 503, "unavailable");
        }
    }
}

/* Identity before pass, pass before size, size before key, key before media type, media type before JSON, JSON before
 * fields. */
Test(api, the_order_of_refusals)
{
    good_post("/v1/reservations", "");
    office.request.authorization = NULL;
    office.request.queue_token = NULL;
    office.request.content_length = REQUEST_BODY_MAX + 1;
    office.request.idempotency_key = "";
    office.request.content_type = "text/plain";
    office_ask(&office);
    office_expect_problem(&office, 401, "unauthenticated");
    office.request.authorization = office_bearer(&office, 7);
    office_ask(&office);
    office_expect_problem(&office, 401, "queue-token-required");
    office.request.queue_token = office_queue_token(&office, 7, 1);
    office_ask(&office);
    office_expect_problem(&office, 413, "content-too-large");
    office.request.content_length = 0;
    office_ask(&office);
    office_expect_problem(&office, 400, "invalid-request");
    office.request.idempotency_key = "key";
    office_ask(&office);
    office_expect_problem(&office, 415, "unsupported-media-type");
    office.request.content_type = "application/json";
    office_ask(&office);
    office_expect_problem(&office, 400, "malformed-json");
}

Test(api, queries_are_checked_before_anything_is_asked)
{
    static const struct {
        const char *path, *query, *field;
    } bad[] = {
        {"/v1/concerts", "page=-1", "page"},
        {"/v1/concerts", "page=x", "page"},
        {"/v1/concerts", "size=0", "size"},
        {"/v1/concerts", "size=101", "size"},
        {"/v1/concerts", "page=1&page=2", "page"},
        {"/v1/concerts", "limit=0", "limit"},
        {"/v1/concerts", "limit=101", "limit"},
        {"/v1/concerts", "limit=10&page=1", "page"},
        {"/v1/concerts", "after=", "after"},
        {"/v1/concerts", "after=forged", "after"},
        {"/v1/concerts", "after=%zz", "after"},
        {"/v1/schedules/1/seats", "all=1", "all"},
        {"/v1/balance/entries", "limit=0", "limit"},
        {"/v1/balance/entries", "limit=1000", "limit"},
        {"/v1/balance/entries", "after=forged", "after"},
    };
    office.request.authorization = office_bearer(&office, 7);
    office.request.queue_token = office_queue_token(&office, 7, 1);
    for (size_t i = 0; i < COUNT(bad); i++) {
        office.request.query = bad[i].query;
        office_get(&office, METHOD_GET, bad[i].path);
        office_expect_problem(&office, 400, "invalid-request");
        const char *field = arena_printf(office.arena, "\"errors\":[{\"field\":\"%s\"", bad[i].field);
        cr_assert_not_null(strstr(office.reply.body.data, field), "%s: %s", bad[i].query, office.reply.body.data);
    }
}

/* ---- no store answers ---- */

Test(api, away_is_503)
{
    office.request.authorization = office_bearer(&office, 7);
    office.request.queue_token = office_queue_token(&office, 7, 1);
    for (size_t i = 0; i < COUNT(gated_reads); i++) {
        office_get(&office, METHOD_GET, gated_reads[i]);
        office_expect_problem(&office, 503, "unavailable");
        cr_assert_str_eq(office_header(&office, "Retry-After"), "Retry-After: 1");
    }
    for (size_t i = 0; i < COUNT(own_reads); i++) {
        office_get(&office, METHOD_GET, own_reads[i]);
        office_expect_problem(&office, 503, "unavailable");
    }
    for (size_t i = 0; i < POST_COUNT; i++) {
        good_post(posts[i].path, posts[i].body);
        office_ask(&office);
        office_expect_problem(&office, 503, "unavailable");
    }
    good_post("/v1/queue/tokens", "");
    office_ask(&office);
    office_expect_problem(&office, 503, "unavailable");
    office_get(&office, METHOD_GET, "/v1/queue");
    office_expect_problem(&office, 503, "unavailable");
}

Test(api, ready_names_what_is_away)
{
    office_get(&office, METHOD_GET, "/readyz");
    office_expect_problem(&office, 503, "unavailable");
    cr_assert_str_eq(office_text(&office, "detail"), "No answer from postgresql and redis.");
}

/* A body that the server could not read is refused without a look at anything else. */
Test(api, refuse)
{
    api_refuse(office.api, &office.request, E_INVALID_REQUEST, "The body is not as long as Content-Length says.",
               &office.reply);
    office_expect_problem(&office, 400, "invalid-request");
    cr_assert_str_eq(office_text(&office, "detail"), "The body is not as long as Content-Length says.");
    cr_assert_not_null(strstr(office.reply.body.data, "\"errors\":[]"));
}

/* ---- keys ---- */

Test(api, unusable_keys)
{
    static const struct {
        const char *key, *name, *bytes, *message;
    } bad[] = {
        {"jwt_key_file", "short.key", "31 bytes are not enough for 256\n", "HS256 needs at least 32"},
        {"jwt_key_file", NULL, NULL, "jwt_key_file: cannot read "},
        {"queue_key_file", "short.key", "short", "needs at least 16"},
        {"queue_key_file", NULL, NULL, "queue_key_file: cannot read "},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct config config;
        char message[CONFIG_MESSAGE_SIZE] = "";
        const char *path =
            bad[i].name ? office_file(&office, bad[i].name, bad[i].bytes, strlen(bad[i].bytes)) : "/none/key";
        config_init(&config);
        cr_assert(config_set(&config, "jwt_key_file", office.config.jwt_key_file, "test", message));
        cr_assert(config_set(&config, "queue_key_file", office.config.queue_key_file, "test", message));
        cr_assert(config_set(&config, bad[i].key, path, "test", message));
        cr_assert_null(api_new(&config, message));
        cr_assert_not_null(strstr(message, bad[i].message), "%s", message);
        config_free(&config);
    }
}
