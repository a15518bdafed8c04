/* doorman: see the header. */
#include "sale/doorman.h"

#include "base/clock.h"
#include "base/encode.h"
#include "sale/keys.h"
#include "sale/outcome.h"
#include "store/pg.h"
#include "store/redis.h"

#include <stdio.h>
#include <string.h>

static const char *value_of(struct arena *arena, const struct seat_truth *truth)
{
    return truth->taken ? arena_printf(arena, "%" PRId64 " %" PRId64, truth->deadline, truth->holder) : "";
}

/* As release.lua wants it. */
static const char *may_change(struct arena *arena, const struct seat_truth *truth)
{
    return truth->instead_of ? truth->instead_of : arena_printf(arena, "%" PRId64, truth->last);
}

enum error doorman_correct(struct sale *sale, struct arena *arena, int64_t schedule, int64_t user,
                           const struct seat_truth *truths, size_t count)
{
    return doorman_answer(sale, arena, schedule, user, (struct token_life){0}, truths, count);
}

enum error doorman_answer(struct sale *sale, struct arena *arena, int64_t schedule, int64_t user,
                          struct token_life life, const struct seat_truth *truths, size_t count)
{
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_RELEASE);
    redis_key(&call, key_seats(arena, schedule));
    redis_key(&call, KEY_ACTIVE);
    redis_int(&call, user);
    redis_int(&call, life.from);
    redis_int(&call, life.to);
    for (size_t i = 0; i < count; i++) {
        redis_int(&call, truths[i].seat);
        redis_text(&call, may_change(arena, &truths[i]));
        redis_text(&call, value_of(arena, &truths[i]));
    }
    return redis_run_one(sale->redis, arena, &call, &reply);
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
    redis_key(&call, KEY_ADMISSION);
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

/* A claim older than this has been decided, unless its request was cut off: well above the statement's timeout. */
enum { DOUBTFUL_MS = 15000 };

static enum error doubtful_claims(struct sale *sale, struct arena *arena, int64_t schedule, struct redis_value **claims)
{
    struct redis_call call;
    redis_script(&call, arena, SCRIPT_SEATS_DOUBTFUL);
    redis_key(&call, key_seats(arena, schedule));
    redis_int(&call, sale->config->hold_ttl);
    redis_int(&call, DOUBTFUL_MS);
    return redis_run_one(sale->redis, arena, &call, claims);
}

/* What PostgreSQL says of the seats, ascending by id. */
static enum error ask_about(struct sale *sale, struct arena *arena, int64_t schedule, const int64_t *ids, size_t count,
                            struct pg_rows **rows)
{
    struct pg_params params = {.arena = arena};
    pg_int(&params, schedule);
    pg_ids(&params, ids, count);
    return outcome_of_run(pg_run(sale->pg, arena, STATEMENT_SEATS_TAKEN, &params, true, rows));
}

static void find_truth(const struct pg_rows *rows, struct seat_truth *truth)
{
    enum { SEAT, DEADLINE, HOLDER };
    size_t low = 0, high = pg_count(rows);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pg_get_int(rows, middle, SEAT) < truth->seat)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == pg_count(rows) || pg_get_int(rows, low, SEAT) != truth->seat)
        return;
    truth->taken = true;
    truth->deadline = pg_get_int(rows, low, DEADLINE);
    truth->holder = pg_get_int(rows, low, HOLDER);
}

static enum error correct_doubtful(struct sale *sale, struct arena *arena, int64_t schedule, int64_t *corrected)
{
    struct redis_value *claims;
    struct pg_rows *rows;
    *corrected = 0;
    enum error error = doubtful_claims(sale, arena, schedule, &claims);
    size_t count = error == OK && claims->type == REDIS_ARRAY ? claims->count / 2 : 0;
    if (count == 0)
        return error;

    int64_t *ids = arena_array(arena, count, sizeof *ids);
    for (size_t i = 0; i < count; i++)
        ids[i] = redis_integer_at(claims, 2 * i);
    error = ask_about(sale, arena, schedule, ids, count, &rows);
    if (error != OK)
        return error;

    struct seat_truth *truths = arena_array(arena, count, sizeof *truths);
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        struct seat_truth truth = {.seat = ids[i], .instead_of = redis_text_at(claims, 2 * i + 1)};
        find_truth(rows, &truth);
        /* A live hold's deadline differs by the moment between the two clocks' readings: that is in order. */
        if (!truth.taken || truth.deadline == 0)
            truths[wrong++] = truth;
    }
    *corrected = (int64_t)wrong;
    return wrong ? doorman_correct(sale, arena, schedule, 0, truths, wrong) : OK;
}

/* Tells him what PostgreSQL holds or has sold and he does not refuse. */
static enum error add_missing(struct sale *sale, struct arena *arena, int64_t schedule)
{
    enum { SEAT = 1, DEADLINE = 4, HOLDER = 5, SLICE = 1000 };
    struct pg_rows *rows;
    enum error error = doorman_ask(sale, arena, schedule, &rows);
    if (error != OK)
        return error == E_NOT_FOUND ? OK : error;
    struct seat_truth *truths = arena_array(arena, pg_count(rows), sizeof *truths);
    size_t count = 0;
    for (size_t row = 0; row < pg_count(rows); row++) {
        if (pg_is_null(rows, row, DEADLINE))
            continue;
        truths[count++] = (struct seat_truth){
            .seat = pg_get_int(rows, row, SEAT),
            .taken = true,
            .deadline = pg_get_int(rows, row, DEADLINE),
            .holder = pg_get_int(rows, row, HOLDER),
        };
    }
    for (size_t i = 0; error == OK && i < count; i += SLICE)
        error = doorman_correct(sale, arena, schedule, 0, truths + i, count - i < SLICE ? count - i : SLICE);
    return error;
}

/* A hold that was under way while he was forgotten and loaded again is in none of his claims: so he is completed once
 * after each loading, when all such holds have been decided. Field r names the loading for which that was done. */
static enum error complete(struct sale *sale, struct arena *arena, int64_t schedule)
{
    struct redis_call look, note;
    struct redis_value *stamp, *noted;
    redis_command(&look, arena, "HMGET", true);
    redis_key(&look, key_seats(arena, schedule));
    redis_text(&look, "v");
    redis_text(&look, "r");
    enum error error = redis_run_one(sale->redis, arena, &look, &stamp);
    if (error != OK)
        return error;
    const char *loaded = redis_text_at(stamp, 0);
    int64_t age = clock_now() / 1000 - redis_integer_at(stamp, 0);
    if (!*loaded || strcmp(loaded, redis_text_at(stamp, 1)) == 0 || age < DOUBTFUL_MS)
        return OK;
    error = add_missing(sale, arena, schedule);
    if (error != OK)
        return error;
    redis_command(&note, arena, "HSET", true);
    redis_key(&note, key_seats(arena, schedule));
    redis_text(&note, "r");
    redis_text(&note, loaded);
    return redis_run_one(sale->redis, arena, &note, &noted);
}

enum error doorman_review(struct sale *sale, struct arena *arena, int64_t schedule, int64_t *corrected)
{
    enum error error = correct_doubtful(sale, arena, schedule, corrected);
    return error == OK ? complete(sale, arena, schedule) : error;
}

enum error doorman_warm(struct sale *sale, struct arena *arena, int64_t schedule)
{
    enum { LOADED = 0, CHANGES };
    struct redis_call call;
    struct redis_value *reply;
    struct pg_rows *rows;
    char version[DOORMAN_VERSION_SIZE];
    redis_script(&call, arena, SCRIPT_SEATS_CHANGES);
    redis_key(&call, key_seats(arena, schedule));
    redis_key(&call, KEY_ADMISSION);
    enum error error = redis_run_one(sale->redis, arena, &call, &reply);
    if (error != OK || redis_integer_at(reply, LOADED) != 0)
        return error;
    error = doorman_ask(sale, arena, schedule, &rows);
    if (error != OK)
        return error == E_NOT_FOUND ? OK : error;
    return doorman_load(sale, arena, schedule, redis_text_at(reply, CHANGES), rows, version);
}
