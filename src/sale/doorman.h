/* doorman: what Redis believes of a schedule's seats, and putting it right after PostgreSQL has decided. */
#ifndef USHER_SALE_DOORMAN_H
#define USHER_SALE_DOORMAN_H

#include "sale/sale.h"

/* What is true of one seat. deadline in ms; 0 when sold. */
struct seat_truth {
    int64_t seat;
    const char *instead_of; /* only this value of the doorman's is changed; NULL: see doorman_correct() */
    int64_t last; /* without it: a claim of the user's that ends later, in ms, is another hold's; 0: all are */
    bool taken;
    int64_t deadline;
    int64_t holder;
};

/* What becomes of the life of the user's queue token, in ms: with from 0 it lasts until `to` at least; otherwise, where
 * it ends at `from`, it ends at `to` again. All 0: nothing. */
struct token_life {
    int64_t from, to;
};

/* Tells the doorman; without instead_of, claims that are not user's and have not lapsed stay. */
enum error doorman_correct(struct sale *sale, struct arena *arena, int64_t schedule, int64_t user,
                           const struct seat_truth *truths, size_t count) MUST_CHECK;

/* The same, and in the same step the life of the user's token. */
enum error doorman_answer(struct sale *sale, struct arena *arena, int64_t schedule, int64_t user,
                          struct token_life life, const struct seat_truth *truths, size_t count) MUST_CHECK;

/* Loads a doorman who knows nothing yet, so that the first to come need not wait for it. */
enum error doorman_warm(struct sale *sale, struct arena *arena, int64_t schedule) MUST_CHECK;

/* Asks PostgreSQL about every claim of the schedule that has lapsed or is older than a few seconds, and corrects it:
 * one whose payment was not told to the doorman (a crash in between) is sold, one that PostgreSQL does not know was cut
 * off and is free. *corrected counts those. Once after each loading it also adds what he lacks: a hold that was under
 * way when he was forgotten with a lost line. */
enum error doorman_review(struct sale *sale, struct arena *arena, int64_t schedule, int64_t *corrected) MUST_CHECK;

struct pg_rows;

/* Every seat of a schedule from PostgreSQL: schedule, seat (null when it has none), location, price, deadline in ms (0
 * sold, null free), holder. E_NOT_FOUND: no such schedule. */
enum error doorman_ask(struct sale *sale, struct arena *arena, int64_t schedule, struct pg_rows **rows) MUST_CHECK;

/* Tells the doorman all of that, unless more has changed than `changes` since. version becomes his new one, or "" then.
 */
#define DOORMAN_VERSION_SIZE 48
enum error doorman_load(struct sale *sale, struct arena *arena, int64_t schedule, const char *changes,
                        const struct pg_rows *rows, char version[static DOORMAN_VERSION_SIZE]) MUST_CHECK;

/* "7,8" into ids; NULL and 0 for "". */
size_t doorman_read_ids(struct arena *arena, const char *text, int64_t **ids);

#endif
