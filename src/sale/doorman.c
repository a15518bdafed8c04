/* doorman: see the header. */
#include "sale/doorman.h"

#include "base/encode.h"
#include "sale/keys.h"
#include "sale/outcome.h"
#include "store/pg.h"
#include "store/redis.h"

#include <stdio.h>
#include <string.h>

enum error doorman_correct(struct sale *sale, struct arena *arena, int64_t schedule, int64_t user,
                           const struct seat_truth *truths, size_t count, bool wait)
{
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_RELEASE);
    redis_key(&call, key_seats(arena, schedule));
    redis_int(&call, user);
    for (size_t i = 0; i < count; i++) {
        redis_int(&call, truths[i].seat);
        redis_text(&call, truths[i].taken
                              ? arena_printf(arena, "%" PRId64 " %" PRId64, truths[i].deadline, truths[i].holder)
                              : "");
    }
    if (wait)
        return redis_run_one(sale->redis, arena, &call, &reply);
    redis_post(sale->redis, &call);
    return OK;
}

size_t doorman_read_ids(struct arena *arena, const char *text, int64_t **ids)
{
    size_t count = 0;
    *ids = arena_array(arena, strlen(text) / 2 + 1, sizeof **ids);
    while (*text) {
        size_t length = strcspn(text, ",");
        if (decimal_parse(text, length, 1, INT64_MAX, &(*ids)[count]))
            count++;
        text += length;
        text += *text == ',';
    }
    return count;
}

enum error doorman_ask(struct sale *sale, struct arena *arena, int64_t schedule, struct pg_rows **rows)
{
    struct pg_params params = {.arena = arena};
    pg_int(&params, schedule);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_SEATS, &params, true, rows));
    return error == OK && pg_count(*rows) == 0 ? E_NOT_FOUND : error;
}

enum error doorman_load(struct sale *sale, struct arena *arena, int64_t schedule, const char *changes,
                        const struct pg_rows *rows, char version[static DOORMAN_VERSION_SIZE])
{
    enum { SEAT = 1, DEADLINE = 4, HOLDER = 5 };
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_SEATS_LOAD);
    redis_key(&call, key_seats(arena, schedule));
    redis_text(&call, changes);
    for (size_t row = 0; row < pg_count(rows); row++) {
        if (pg_is_null(rows, row, DEADLINE))
            continue;
        redis_text(&call, pg_get(rows, row, SEAT));
        redis_text(&call, arena_printf(arena, "%s %s", pg_get(rows, row, DEADLINE), pg_get(rows, row, HOLDER)));
    }
    enum error error = redis_run_one(sale->redis, arena, &call, &reply);
    if (error == OK)
        snprintf(version, DOORMAN_VERSION_SIZE, "%s", reply->type == REDIS_TEXT ? reply->text : "");
    return error;
}

static enum error lapsed_claims(struct sale *sale, struct arena *arena, int64_t schedule, struct redis_value **seats)
{
    struct redis_call call;
    redis_script(&call, arena, SCRIPT_SEATS_LAPSED);
    redis_key(&call, key_seats(arena, schedule));
    return redis_run_one(sale->redis, arena, &call, seats);
}

enum error doorman_review(struct sale *sale, struct arena *arena, int64_t schedule, int64_t *corrected)
{
    struct redis_value *lapsed;
    *corrected = 0;
    enum error error = lapsed_claims(sale, arena, schedule, &lapsed);
    if (error != OK || lapsed->type != REDIS_ARRAY || lapsed->count == 0)
        return error;

    int64_t *ids = arena_array(arena, lapsed->count, sizeof *ids);
    for (size_t i = 0; i < lapsed->count; i++)
        ids[i] = redis_integer_at(lapsed, i);
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, schedule);
    pg_ids(&params, ids, lapsed->count);
    error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_SEATS_TAKEN, &params, true, &rows));
    if (error != OK)
        return error;

    struct seat_truth *truths = arena_array(arena, lapsed->count, sizeof *truths);
    for (size_t i = 0; i < lapsed->count; i++) {
        truths[i].seat = ids[i];
        for (size_t row = 0; row < pg_count(rows); row++) {
            if (pg_get_int(rows, row, 0) == ids[i]) {
                truths[i].taken = true;
                truths[i].deadline = pg_get_int(rows, row, 1);
                truths[i].holder = pg_get_int(rows, row, 2);
            }
        }
    }
    *corrected = (int64_t)lapsed->count;
    return doorman_correct(sale, arena, schedule, 0, truths, lapsed->count, true);
}
