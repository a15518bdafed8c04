/* problem: every error as a problem document, with the headers and members that belong to it. */
#include "office.h"

#include "api/problem.h"
#include "base/json.h"

#include <criterion/criterion.h>
#include <string.h>

static struct office office;
static struct exchange x;

static void set_up(void)
{
    office_open(&office);
    x = (struct exchange){.arena = office.arena, .request = &office.request, .reply = &office.reply};
    buf_init(&x.fields, office.arena, 16);
}

static void tear_down(void)
{
    office_close(&office);
}

TestSuite(problem, .init = set_up, .fini = tear_down);

Test(problem, every_error_is_a_document)
{
    for (int error = OK + 1; error < ERROR_COUNT; error++) {
        problem_reply(&x, (enum error)error);
        office_expect_problem(&office, error_status((enum error)error), error_code((enum error)error));
        cr_assert_str_eq(office_text(&office, "title"), error_title((enum error)error));
    }
}

Test(problem, replaces_what_was_written)
{
    buf_init(&office.reply.headers, office.arena, 16);
    buf_init(&office.reply.body, office.arena, 16);
    buf_puts(&office.reply.body, "{\"secret\":1}");
    reply_json_kept(&x, 200, "{\"secret\":2}", 12);
    reply_header(&x, "ETag", "\"1\"");
    problem_reply(&x, E_INTERNAL);
    cr_assert_null(office.reply.kept);
    cr_assert_null(strstr(office.reply.body.data, "secret"));
    cr_assert_null(office_header(&office, "ETag"));
    cr_assert_str_eq(office_text(&office, "detail"), "Something went wrong on our side.");
}

Test(problem, texts_are_escaped)
{
    office.request.id = "a\"b\\c";
    x.detail = "a \"quoted\" \n line";
    problem_reply(&x, E_UNAVAILABLE);
    cr_assert_str_eq(office_text(&office, "detail"), "a \"quoted\" \n line");
    cr_assert_str_eq(office_text(&office, "trace_id"), "a\"b\\c");
}

Test(problem, challenges)
{
    problem_reply(&x, E_UNAUTHENTICATED);
    cr_assert_str_eq(office_header(&office, "WWW-Authenticate"), "WWW-Authenticate: Bearer realm=\"usher\"");
    office.request.authorization = "Bearer x";
    problem_reply(&x, E_UNAUTHENTICATED);
    cr_assert_str_eq(office_header(&office, "WWW-Authenticate"),
                     "WWW-Authenticate: Bearer realm=\"usher\", error=\"invalid_token\"");
    problem_reply(&x, E_QUEUE_TOKEN_REQUIRED);
    cr_assert_str_eq(office_header(&office, "WWW-Authenticate"), "WWW-Authenticate: Queue-Token realm=\"usher\"");
    problem_reply(&x, E_QUEUE_TOKEN_INVALID);
    cr_assert_not_null(office_header(&office, "WWW-Authenticate"));
    x.status = 404;
    problem_reply(&x, E_QUEUE_TOKEN_INVALID);
    office_expect_problem(&office, 404, "queue-token-invalid");
    cr_assert_null(office_header(&office, "WWW-Authenticate"), "a challenge belongs to 401 only");
}

Test(problem, when_to_come_back)
{
    static const enum error soon[] = {E_UNAVAILABLE, E_IDEMPOTENCY_KEY_IN_USE, E_TOO_MANY_REQUESTS};
    for (size_t i = 0; i < sizeof soon / sizeof *soon; i++) {
        problem_reply(&x, soon[i]);
        cr_assert_str_eq(office_header(&office, "Retry-After"), "Retry-After: 1");
    }
    x.refusal.position = 57;
    x.refusal.poll_after_seconds = 4;
    problem_reply(&x, E_NOT_ADMITTED);
    cr_assert_str_eq(office_header(&office, "Retry-After"), "Retry-After: 4");
    cr_assert_eq(office_int(&office, "position"), 57);
    problem_reply(&x, E_ALREADY_PAID);
    cr_assert_null(office_header(&office, "Retry-After"));
}

Test(problem, allow)
{
    static const struct {
        unsigned methods;
        const char *header;
    } cases[] = {
        {METHOD_GET | METHOD_HEAD, "Allow: GET, HEAD"},
        {METHOD_POST, "Allow: POST"},
        {METHOD_GET | METHOD_HEAD | METHOD_POST, "Allow: GET, HEAD, POST"},
        {METHOD_GET | METHOD_HEAD | METHOD_DELETE, "Allow: GET, HEAD, DELETE"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        x.allow = cases[i].methods;
        problem_reply(&x, E_METHOD_NOT_ALLOWED);
        cr_assert_str_eq(office_header(&office, "Allow"), cases[i].header);
    }
}

Test(problem, wrong_fields)
{
    exchange_bad_field(&x, "a\"b", "must be \\ better");
    x.refusal.field = "seat_ids";
    x.refusal.message = "must all belong to the schedule";
    problem_reply(&x, E_INVALID_REQUEST);
    cr_assert_not_null(strstr(office.reply.body.data,
                              "\"errors\":[{\"field\":\"a\\\"b\",\"message\":\"must be \\\\ better\"},"
                              "{\"field\":\"seat_ids\",\"message\":\"must all belong to the schedule\"}]}"),
                       "%s", office.reply.body.data);
}

Test(problem, taken_seats)
{
    int64_t *ids = NULL, taken[] = {7, INT64_MAX};
    size_t count;
    x.refusal.seats = taken;
    x.refusal.seat_count = 2;
    problem_reply(&x, E_SEAT_UNAVAILABLE);
    cr_assert_eq(json_get_ids(office.arena, office_body(&office), "conflicting_seat_ids", 1, 9, &ids, &count),
                 JSON_FOUND);
    cr_assert(count == 2 && ids[0] == 7 && ids[1] == INT64_MAX);
}

Test(problem, missing_money)
{
    x.refusal.balance = 0;
    x.refusal.price = 150000;
    problem_reply(&x, E_INSUFFICIENT_BALANCE);
    cr_assert_eq(office_int(&office, "balance"), 0);
    cr_assert_eq(office_int(&office, "price"), 150000);
}
