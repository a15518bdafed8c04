/* rehearse: how fans come, what they read, which seats they choose, what is noted, and the arithmetic of the rate. */
#include "rehearse/arrival.h"
#include "rehearse/calibrate.h"
#include "rehearse/chance.h"
#include "rehearse/journal.h"
#include "rehearse/scan.h"
#include "rehearse/seats.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct span span(const char *text)
{
    return (struct span){text, strlen(text)};
}

/* ---- arrival ---- */

Test(rehearse_arrival, reads_curves)
{
    struct arrival arrival;
    cr_assert(arrival_parse("all", &arrival));
    cr_assert_eq(arrival.kind, ARRIVAL_ALL);
    cr_assert(arrival_parse("ramp:30", &arrival));
    cr_assert_eq(arrival.kind, ARRIVAL_RAMP);
    cr_assert_eq(arrival.value, 30);
    cr_assert(arrival_parse("trickle:0.5", &arrival));
    cr_assert_eq(arrival.kind, ARRIVAL_TRICKLE);
    cr_assert_eq(arrival.value, 0.5);
}

Test(rehearse_arrival, refuses_others)
{
    static const char *const bad[] = {"",        "All",      "all:1",    "ramp",     "ramp:",     "ramp:0", "ramp:-1",
                                      "ramp:1s", "ramp:1e9", "ramp:inf", "trickle:", "trickle:x", "ramp: 1"};
    struct arrival arrival;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(arrival_parse(bad[i], &arrival), "%s", bad[i]);
}

Test(rehearse_arrival, keeps_to_the_curve)
{
    enum { FANS = 10000 };
    const struct arrival all = {ARRIVAL_ALL, 0}, ramp = {ARRIVAL_RAMP, 10}, trickle = {ARRIVAL_TRICKLE, 100};
    cr_assert_eq(arrival_time(&all, FANS - 1, FANS), 0);
    cr_assert_eq(arrival_time(&trickle, 0, FANS), 0);
    cr_assert_eq(arrival_time(&trickle, 250, FANS), 2500000);
    /* after half of the time a quarter has come: the rate rises evenly */
    cr_assert_eq(arrival_time(&ramp, FANS / 4, FANS), 5000000);
    int64_t before = 0;
    for (int64_t i = 0; i < FANS; i++) {
        int64_t time = arrival_time(&ramp, i, FANS);
        cr_assert(time >= before && time <= 10000000);
        before = time;
    }
}

/* ---- scan ---- */

Test(rehearse_scan, tells_json_from_other_text)
{
    static const char *const good[] = {"{}", " [1, -2.5e+3 ,\"a\\u00e9\\n\", true, null, {\"a\":[]}] ", "0", "\"x\""};
    static const char *const bad[] = {"",    "{",   "[1,]",      "{\"a\"}",     "{\"a\":1,}", "01",    "1.",
                                      "-",   "\"a", "\"\\x\"",   "\"\\u12g4\"", "tru",        "[1 2]", "{a:1}",
                                      "1 2", "'a'", "[\"a\n\"]", "NaN",         "{\"a\":1]",  "\"\\"};
    char deep[100];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert(scan_valid(span(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(scan_valid(span(bad[i])), "%s", bad[i]);
    memset(deep, '[', 40);
    memset(deep + 40, ']', 40);
    cr_assert_not(scan_valid((struct span){deep, 80}));
    cr_assert(scan_valid((struct span){deep + 20, 40}));
}

Test(rehearse_scan, finds_members)
{
    struct span text =
        span("{ \"token\" : \"abc\", \"n\":{\"id\":1}, \"id\": 42 , \"f\":1.0, \"list\":[1, {\"a\":[]} ,3]}");
    struct span value, rest;
    int64_t number;
    cr_assert(scan_text(text, "token", &value));
    cr_assert(span_is(value, "abc"));
    cr_assert(scan_int(text, "id", &number));
    cr_assert_eq(number, 42);
    cr_assert_not(scan_int(text, "f", &number));
    cr_assert_not(scan_int(text, "token", &number));
    cr_assert_not(scan_text(text, "id", &value));
    cr_assert_not(scan_int(text, "i", &number));
    cr_assert_not(scan_member(span("[1]"), "a", &value));
    cr_assert_not(scan_member(span(""), "a", &value));
    cr_assert(scan_member(text, "list", &rest));
    int count = 0;
    while (scan_next(&rest, &value))
        count++;
    cr_assert_eq(count, 3);
    cr_assert_not_null(rest.at);
    cr_assert(span_is(value, "3"));
}

Test(rehearse_scan, says_when_a_list_is_broken)
{
    struct span rest = span("[1,,2]"), value;
    cr_assert(scan_next(&rest, &value));
    cr_assert_not(scan_next(&rest, &value));
    cr_assert_null(rest.at);
    rest = span("[]");
    cr_assert_not(scan_next(&rest, &value));
    cr_assert_not_null(rest.at);
    rest = span("{}");
    cr_assert_not(scan_next(&rest, &value));
    cr_assert_null(rest.at);
}

/* ---- seats ---- */

static char list[200000];

/* A list of seats 1 to count. */
static struct span seat_list(int count)
{
    int length = snprintf(list, sizeof list, "{\"schedule_id\":1,\"version\":\"a.1\",\"items\":[");
    for (int i = 1; i <= count; i++)
        length += snprintf(list + length, sizeof list - (size_t)length,
                           "%s{\"id\":%d,\"location\":\"R},{\\\"id\\\":-%d\",\"price\":%d,\"status\":\"available\"}",
                           i > 1 ? "," : "", i, i, 100 * i);
    length += snprintf(list + length, sizeof list - (size_t)length, "]}");
    return (struct span){list, (size_t)length};
}

Test(rehearse_seats, popular_ones_are_in_front)
{
    cr_assert_eq(seats_popular(100, 0, 2), 0);
    cr_assert_eq(seats_popular(100, 0.5, 1), 50);
    cr_assert_eq(seats_popular(100, 0.5, 2), 25);
    cr_assert_eq(seats_popular(100, 0.999999, 2), 99);
    cr_assert_eq(seats_popular(1, 0.999999, 1), 0);
}

Test(rehearse_seats, every_seat_can_be_chosen_and_none_else)
{
    enum { SEATS = 20 };
    struct span body = seat_list(SEATS);
    struct chance chance = chance_of(1, 1);
    int counts[SEATS + 1] = {0};
    for (int i = 0; i < 20000; i++) {
        struct seat_wish wishes[SEATS_MAX];
        cr_assert_eq(seats_choose(body, chance_share(&chance), 1, 1, wishes), 1);
        cr_assert(wishes[0].id >= 1 && wishes[0].id <= SEATS && wishes[0].price == 100 * wishes[0].id);
        counts[wishes[0].id]++;
    }
    for (int i = 1; i <= SEATS; i++)
        cr_assert(counts[i] > 700 && counts[i] < 1300, "seat %d: %d times", i, counts[i]);
}

Test(rehearse_seats, skew_crowds_the_front)
{
    struct span body = seat_list(100);
    struct chance chance = chance_of(1, 1);
    int front = 0;
    for (int i = 0; i < 10000; i++) {
        struct seat_wish wishes[SEATS_MAX];
        cr_assert_eq(seats_choose(body, chance_share(&chance), 2, 1, wishes), 1);
        front += wishes[0].id <= 25;
    }
    cr_assert(front > 4500 && front < 5500, "%d of 10000", front);
}

Test(rehearse_seats, takes_neighbours_as_far_as_there_are)
{
    struct seat_wish wishes[SEATS_MAX];
    struct span body = seat_list(3);
    cr_assert_eq(seats_choose(body, 0, 1, 2, wishes), 2);
    cr_assert_eq(wishes[0].id, 1);
    cr_assert_eq(wishes[1].id, 2);
    cr_assert_eq(seats_choose(body, 0.99, 1, 4, wishes), 1);
    cr_assert_eq(wishes[0].id, 3);
    cr_assert_eq(seats_choose(seat_list(0), 0.5, 1, 1, wishes), 0);
}

Test(rehearse_seats, refuses_what_is_no_list)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{\"items\":[",
        "{\"items\":{}}",
        "{\"items\":[1]}",
        "{\"items\":[{\"id\":1}]}",
        "{\"items\":[{\"id\":1,\"price\":5,\"status\":\"sold\"}]}",
        "{\"items\":[{\"id\":0,\"price\":5,\"status\":\"available\"}]}",
        "{\"items\":[{\"id\":1,\"price\":-5,\"status\":\"available\"}]}",
        "{\"items\":[{\"id\":1,\"price\":5,\"status\":\"available\"]}",
    };
    struct seat_wish wishes[SEATS_MAX];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(seats_choose(span(bad[i]), 0.5, 1, 1, wishes), -1, "%s", bad[i]);
}

/* ---- journal ---- */

static struct journal journal;

Test(rehearse_journal, counts_sold_seats_once)
{
    for (int64_t seat = 1; seat <= 5000; seat++) {
        journal_held(&journal, seat, seat + 7, 100, 0);
        journal_paid(&journal, seat, seat + 7);
        journal_paid(&journal, seat, seat + 7); /* a repeated answer */
    }
    cr_assert_eq(journal.sold, 5000);
    cr_assert_eq(journal_breaches(&journal), 0);
    journal_paid(&journal, 17, 99999);
    cr_assert_eq(journal.sold_twice, 1);
    cr_assert_eq(journal.sold, 5000);
    cr_assert_eq(journal_breaches(&journal), 1);
    journal_free(&journal);
}

Test(rehearse_journal, holds_that_overlap)
{
    journal_held(&journal, 1, 10, 100, 0);
    journal_held(&journal, 1, 11, 250, 150); /* the first one is over */
    cr_assert_eq(journal.held_twice, 0);
    journal_held(&journal, 1, 11, 260, 160); /* the same again */
    cr_assert_eq(journal.held_twice, 0);
    journal_held(&journal, 1, 9, 120, 200); /* an old answer that was long on its way */
    cr_assert_eq(journal.held_twice, 0);
    journal_held(&journal, 2, 12, 100, 0);
    journal_held(&journal, 2, 13, 100, 50);
    cr_assert_eq(journal.held_twice, 1);
    journal_paid(&journal, 3, 14);
    journal_held(&journal, 3, 15, 1000, 500);
    cr_assert_eq(journal.held_twice, 2);
    journal_free(&journal);
}

Test(rehearse_journal, the_line)
{
    struct journal_view before = journal_view(&journal);
    journal_ticket(&journal, &before, 5);
    journal_ticket(&journal, &before, 4); /* asked before anybody had a ticket: answers may cross */
    cr_assert_eq(journal.ticket_inversions, 0);
    struct journal_view after = journal_view(&journal);
    journal_ticket(&journal, &after, 3);
    cr_assert_eq(journal.ticket_inversions, 1);

    journal_waiting(&journal, &after, 4, 2, 3);
    journal_active(&journal, 5);
    journal_waiting(&journal, &after, 4, 2, 0); /* asked before 5 was seen to be in */
    cr_assert_eq(journal.overtaken, 0);
    struct journal_view later = journal_view(&journal);
    journal_waiting(&journal, &later, 6, 1, 0);
    cr_assert_eq(journal.overtaken, 0);
    journal_waiting(&journal, &later, 4, 1, 0);
    cr_assert_eq(journal.overtaken, 1);
    journal_waiting(&journal, &later, 6, 3, 2);
    cr_assert_eq(journal.pushed_back, 1);
    cr_assert_eq(journal_breaches(&journal), 3);
}

/* ---- the arithmetic ---- */

Test(rehearse_calibrate, is_the_seeds_with_a_fifth_to_spare)
{
    /* 4500 less 20 % = 3600 transactions a minute, 600 buyers at six each, 100 in ten seconds */
    cr_assert_eq(calibrate_batch(4500, 6), 100);
    cr_assert_eq(calibrate_batch(4500, 5), 100); /* never fewer than six */
    cr_assert_eq(calibrate_batch(4500, 12), 50);
    cr_assert_eq(calibrate_batch(1, 6), 1);
}
