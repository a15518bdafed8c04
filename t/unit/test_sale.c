/* sale: the parts that decide without a server: when to poll, what makes two requests the same, what PostgreSQL's words
 * mean, and lists of ids. */
#include "office.h"

#include "sale/doorman.h"
#include "sale/outcome.h"
#include "sale/queue.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

static struct office office;

static void set_up(void)
{
    office_open(&office);
}

static void tear_down(void)
{
    office_close(&office);
}

TestSuite(sale, .init = set_up, .fini = tear_down);

/* ---- poll_after_seconds ---- */

static void expect_from(int64_t (*poll_after)(const struct sale *sale, int64_t position), int64_t position, int64_t low,
                        int64_t high)
{
    bool seen_low = false, seen_high = false;
    for (int i = 0; i < 5000; i++) {
        int64_t after = poll_after(office.api->sale, position);
        cr_assert(after >= low && after <= high, "position %lld: %lld", (long long)position, (long long)after);
        seen_low = seen_low || after == low;
        seen_high = seen_high || after == high;
    }
    cr_assert(seen_low && seen_high, "position %lld: jitter from %lld to %lld", (long long)position, (long long)low,
              (long long)high);
}

static void expect_poll(int64_t position, int64_t low, int64_t high)
{
    expect_from(queue_poll_after, position, low, high);
}

/* 100 in 10 s: position n waits n/10 s, and asks again after a quarter of that, give or take an eighth. */
Test(sale, poll_after_a_quarter_of_the_wait)
{
    expect_poll(0, 1, 1);
    expect_poll(1, 1, 1);
    expect_poll(40, 1, 1);
    expect_poll(400, 9, 11);
    expect_poll(800, 18, 22);
    expect_poll(1600, 35, 45);
    expect_poll(2400, 53, 60);
    expect_poll(3000, 53, 60);
    expect_poll(1000000, 53, 60);
    expect_poll(INT64_C(1) << 47, 53, 60);
}

Test(sale, poll_after_follows_the_rate)
{
    office.config.promote_batch = 1000000;
    office.config.promote_period = 100;
    expect_poll(1000000, 1, 1);
    office.config.promote_batch = 1;
    office.config.promote_period = 3600000;
    expect_poll(1, 53, 60);
    expect_poll(INT64_C(1) << 40, 53, 60);
}

/* Nobody moves: no need to ask each second, however near the front. */
Test(sale, poll_after_in_a_paused_line)
{
    expect_from(queue_poll_after_paused, 1, 10, 13);
    expect_from(queue_poll_after_paused, 400, 10, 13);
    expect_from(queue_poll_after_paused, 1600, 35, 45);
    expect_from(queue_poll_after_paused, 1000000, 53, 60);
}

/* What the line said last counts with adaptive admission, and only then. */
Test(sale, poll_after_follows_the_batch_in_force)
{
    office.api->sale->batch = 200;
    expect_poll(800, 18, 22);
    const char *fixed = office.config.admission;
    office.config.admission = "adaptive";
    expect_poll(800, 9, 11);
    office.api->sale->batch = 0;
    expect_poll(800, 18, 22);
    office.config.admission = fixed; /* which is freed */
}

/* The whole way to the front takes a number of polls that grows with the logarithm of the distance. */
Test(sale, polls_grow_with_the_logarithm)
{
    int polls[4] = {0};
    int64_t start[] = {5000, 10000, 20000, 40000};
    for (int i = 0; i < 4; i++) {
        for (double position = (double)start[i]; position > 0; polls[i]++)
            position -= 10.0 * (double)queue_poll_after(office.api->sale, (int64_t)position);
    }
    /* Beyond position 2,400 the interval stays at a minute: so much for the rest. */
    cr_assert_lt(polls[0], 28, "%d", polls[0]);
    cr_assert_lt(polls[1] - polls[0], 15, "%d", polls[1] - polls[0]);
    cr_assert_lt(polls[3], 28 + 70, "%d", polls[3]);
}

/* ---- idempotency ---- */

Test(sale, the_same_request_has_the_same_hash)
{
    struct idempotency none = {.key = NULL}, a = {.key = "k"}, b = {.key = "other key"}, c = {.key = "k"};
    unsigned char zero[REQUEST_HASH_SIZE] = {0};
    idempotency_describe(&none, office.arena, "charge:%d", 1);
    cr_assert_arr_eq(none.hash, zero, REQUEST_HASH_SIZE);
    idempotency_describe(&a, office.arena, "charge:%d", 1);
    idempotency_describe(&b, office.arena, "charge:%d", 1);
    idempotency_describe(&c, office.arena, "charge:%d", 2);
    cr_assert_arr_eq(a.hash, b.hash, REQUEST_HASH_SIZE);
    cr_assert_arr_neq(a.hash, c.hash, REQUEST_HASH_SIZE);
    cr_assert_arr_neq(a.hash, zero, REQUEST_HASH_SIZE);
}

/* ---- outcomes ---- */

Test(sale, outcomes)
{
    static const struct {
        const char *outcome;
        enum error error;
        bool replayed;
    } words[] = {
        {"created", OK, false},
        {"replayed", OK, true},
        {"cancelled", OK, false},
        {"over", OK, false},
        {"already-paid", E_ALREADY_PAID, false},
        {"insufficient", E_INSUFFICIENT_BALANCE, false},
        {"not-admitted", E_QUEUE_TOKEN_INVALID, false},
        {"foreign-seat", E_INVALID_REQUEST, false},
        {"expired", E_RESERVATION_EXPIRED, false},
        {"no such word", E_INTERNAL, false},
        {"", E_INTERNAL, false},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        bool replayed = !words[i].replayed;
        cr_assert_eq(outcome_of_function(words[i].outcome, &replayed), words[i].error, "%s", words[i].outcome);
        cr_assert_eq(replayed, words[i].replayed, "%s", words[i].outcome);
    }
    cr_assert_eq(outcome_of_run(PG_OK), OK);
    cr_assert_eq(outcome_of_run(PG_UNAVAILABLE), E_UNAVAILABLE);
    cr_assert_eq(outcome_of_run(PG_CONFLICT), E_INTERNAL);
    cr_assert_eq(outcome_of_run(PG_FAILED), E_INTERNAL);
}

/* ---- "7,8" ---- */

Test(sale, ids_of_a_text)
{
    static const struct {
        const char *text;
        size_t count;
        int64_t ids[4];
    } texts[] = {
        {"", 0, {0}},
        {"7", 1, {7}},
        {"7,8", 2, {7, 8}},
        {"1,2,3,9223372036854775807", 4, {1, 2, 3, INT64_MAX}},
        {",", 0, {0}},
        {",7,,8,", 2, {7, 8}},
        {"0,-1,x,07,9223372036854775808,5", 1, {5}},
        {"1 ,2", 1, {2}},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t *ids = NULL;
        cr_assert_eq(doorman_read_ids(office.arena, texts[i].text, &ids), texts[i].count, "%s", texts[i].text);
        for (size_t j = 0; j < texts[i].count; j++)
            cr_assert_eq(ids[j], texts[i].ids[j], "%s", texts[i].text);
    }
}
