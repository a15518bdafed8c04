/* error: every row of the table can be looked up, and keeps the promises of the API's page on errors. */
#include "base/error.h"

#include <criterion/criterion.h>
#include <string.h>

Test(error, ok)
{
    cr_assert_eq(OK, 0);
    cr_assert_str_eq(error_code(OK), "ok");
    cr_assert_eq(error_status(OK), 200);
    cr_assert_not_null(error_title(OK));
}

Test(error, rows)
{
#define CHECK(symbol, code, status, title)                                                                             \
    cr_assert_str_eq(error_code(E_##symbol), code);                                                                    \
    cr_assert_eq(error_status(E_##symbol), status);                                                                    \
    cr_assert_str_eq(error_title(E_##symbol), title);
    ERROR_TABLE(CHECK)
#undef CHECK
}

Test(error, codes_are_distinct_words_with_hyphens)
{
    for (int i = OK + 1; i < ERROR_COUNT; i++) {
        const char *code = error_code((enum error)i);

        cr_assert_eq(strspn(code, "abcdefghijklmnopqrstuvwxyz-"), strlen(code), "%s", code);
        cr_assert_gt(strlen(code), 0);
        for (int j = OK + 1; j < i; j++)
            cr_assert_str_neq(code, error_code((enum error)j));
    }
}

Test(error, statuses_are_errors_and_titles_have_no_full_stop)
{
    for (int i = OK + 1; i < ERROR_COUNT; i++) {
        const char *title = error_title((enum error)i);

        cr_assert(error_status((enum error)i) >= 400 && error_status((enum error)i) <= 599);
        cr_assert_neq(title[strlen(title) - 1], '.');
    }
}

/* The contract's own numbers, so that a slip in the table is seen. */
Test(error, statuses_of_the_contract)
{
    static const struct {
        const char *code;
        int status;
    } contract[] = {
        {"invalid-request", 400},
        {"malformed-json", 400},
        {"idempotency-key-required", 400},
        {"unauthenticated", 401},
        {"queue-token-required", 401},
        {"queue-token-invalid", 401},
        {"insufficient-balance", 402},
        {"not-admitted", 403},
        {"queue-token-mismatch", 403},
        {"not-found", 404},
        {"already-paid", 409},
        {"balance-limit", 409},
        {"queue-paused", 409},
        {"sales-closed", 409},
        {"idempotency-key-in-use", 409},
        {"seat-limit", 409},
        {"seat-unavailable", 409},
        {"reservation-cancelled", 409},
        {"reservation-expired", 410},
        {"internal", 500},
        {"idempotency-key-reused", 422},
        {"unavailable", 503},
    };

    for (size_t i = 0; i < sizeof contract / sizeof *contract; i++) {
        int found = 0;

        for (int j = OK + 1; j < ERROR_COUNT; j++)
            if (strcmp(error_code((enum error)j), contract[i].code) == 0)
                found = error_status((enum error)j);
        cr_assert_eq(found, contract[i].status, "%s", contract[i].code);
    }
}

Test(error, a_value_outside_the_table_reads_as_internal)
{
    cr_assert_str_eq(error_code(ERROR_COUNT), "internal");
    cr_assert_eq(error_status((enum error)12345), 500);
    cr_assert_str_eq(error_title((enum error) - 1), error_title(E_INTERNAL));
}
