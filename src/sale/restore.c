/* restore: from waiting_token into Redis, a batch at a time. */
#include "sale/restore.h"

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"
#include "sale/keys.h"
#include "sale/lock.h"
#include "sale/outcome.h"
#include "sale/queue.h"
#include "store/pg.h"
#include "store/redis.h"

#include <string.h>
#include <time.h>

/* How long a step of restoring may take in Redis. */
enum { PATIENCE_MS = 2000 };

/* A batch keeps Redis busy for a few milliseconds. */
enum { LINE_LOST = 9, BATCH = 1000 };

/* A batch of history that was on its way when the line was lost may be recorded after the numbers were read here: its
 * tickets, which lie right above the highest one, are not given again. */
enum { GAP = HISTORY_BATCH };

/* Who could not restore the line leaves it to others for so long and up to half as much again: each look for the lock
 * is a connection to PostgreSQL, and a crowd polls meanwhile. */
enum { LEAVE_US = 800000 };

enum { NAME_BYTES = 16 };

/* What STATEMENT_LINE_AFTER and STATEMENT_LINE_ENDED answer. */
enum { TICKET, USER, STATE, ISSUED, ACTIVATED };

/* A restore under way. Its name stands in Redis while it lasts: when it is gone, or another's, what was put back so far
 * may have been lost as well, and the restore begins again. */
struct restore {
    struct sale *sale;
    struct arena *arena; /* reset between batches */
    const char *run;
    char name[2 * NAME_BYTES + 1];
    bool overtaken;
    bool complete; /* somebody else has restored the line: nothing may be done over */
};

static enum error begin(struct restore *r)
{
    struct redis_call call;
    struct redis_value *reply;
    unsigned char bytes[NAME_BYTES];
    random_bytes(bytes, sizeof bytes);
    hex_encode(bytes, sizeof bytes, r->name);
    r->overtaken = r->complete = false;
    redis_script(&call, r->arena, SCRIPT_RESTORING);
    redis_key(&call, KEY_ADMISSION);
    redis_text(&call, r->name);
    redis_text(&call, r->run);
    enum error error = redis_run_one(r->sale->redis, r->arena, &call, &reply);
    r->complete = error == OK && reply->integer == 0;
    return error;
}

/* Runs a script that looks whether this is still the restore that goes on. */
static enum error run_step(struct restore *r, struct redis_call *call)
{
    struct redis_value *reply;
    enum error error = redis_run_one(r->sale->redis, r->arena, call, &reply);
    r->overtaken = error == OK && reply->integer < 0;
    return r->overtaken ? E_UNAVAILABLE : error;
}

/* All of it may take longer than a worker may be silent. */
static void end_batch(struct restore *r)
{
    arena_reset(r->arena);
    if (r->sale->alive)
        r->sale->alive(r->sale->alive_context);
}

/* Rows from `from` on, up to BATCH of them. */
static enum error put_rows(struct restore *r, const struct pg_rows *rows, size_t from)
{
    size_t end = pg_count(rows) - from < BATCH ? pg_count(rows) : from + BATCH;
    struct redis_call call;
    redis_script(&call, r->arena, SCRIPT_RESTORE);
    queue_gate_keys(&call);
    redis_key(&call, KEY_EVENTS);
    redis_key(&call, KEY_ADMITTED);
    redis_text(&call, r->name);
    redis_int(&call, r->sale->config->active_ttl);
    for (size_t row = from; row < end; row++) {
        redis_text(&call, pg_get(rows, row, USER));
        redis_text(&call, pg_get(rows, row, TICKET));
        redis_text(&call, pg_get(rows, row, STATE));
        redis_text(&call, pg_get(rows, row, ISSUED));
        redis_text(&call, pg_get(rows, row, ACTIVATED));
    }
    return run_step(r, &call);
}

static enum error put_live(struct restore *r, int64_t *people)
{
    int64_t after = 0;
    size_t count;
    enum error error;
    *people = 0;
    do {
        struct pg_params params = {.arena = r->arena};
        struct pg_rows *rows;
        pg_int(&params, after);
        pg_int(&params, BATCH);
        error = outcome_of_run(pg_run(r->sale->pg, r->arena, STATEMENT_LINE_AFTER, &params, true, &rows));
        count = error == OK ? pg_count(rows) : 0;
        if (count > 0) {
            after = pg_get_int(rows, count - 1, TICKET);
            *people += (int64_t)count;
            error = put_rows(r, rows, 0);
        }
        end_batch(r);
    } while (error == OK && count == BATCH);
    return error;
}

/* Whom the history saw leave shortly before Redis was lost must not come back with an older copy of Redis' data. It may
 * be long after the loss by now: a minute counts back from the last end that the history knows. */
static enum error remove_ended(struct restore *r)
{
    struct pg_params none = {.arena = r->arena};
    struct pg_rows *rows;
    enum error error = outcome_of_run(pg_run(r->sale->pg, r->arena, STATEMENT_LINE_ENDED, &none, true, &rows));
    for (size_t row = 0; error == OK && row < pg_count(rows); row += BATCH)
        error = put_rows(r, rows, row);
    end_batch(r);
    return error;
}

/* The doorman's picture may be older than PostgreSQL's: each schedule's is thrown away and loaded again when asked for.
 */
static enum error forget_seats(struct restore *r)
{
    struct arena *arena = r->arena;
    const char *cursor = "0";
    enum error error;
    do {
        struct redis_call scan, forget;
        struct redis_value *page;
        redis_command(&scan, arena, "SCAN", true);
        redis_text(&scan, cursor);
        redis_text(&scan, "MATCH");
        redis_text(&scan, KEY_SEATS_PATTERN);
        redis_text(&scan, "COUNT");
        redis_text(&scan, "1000");
        error = redis_run_one(r->sale->redis, arena, &scan, &page);
        if (error != OK)
            break;
        cursor = redis_text_at(page, 0);
        if (page->count < 2 || page->items[1]->count == 0)
            continue;
        redis_script(&forget, arena, SCRIPT_SEATS_FORGET);
        redis_key(&forget, KEY_ADMISSION);
        for (size_t i = 0; i < page->items[1]->count; i++)
            redis_key(&forget, redis_text_at(page->items[1], i));
        redis_text(&forget, r->name);
        error = run_step(r, &forget);
    } while (error == OK && strcmp(cursor, "0") != 0);
    arena_reset(arena);
    return error;
}

static enum error mark_complete(struct restore *r)
{
    enum { COLUMNS = 3 };
    struct pg_params params = {.arena = r->arena};
    struct pg_rows *rows;
    struct redis_call call;
    pg_int(&params, GAP);
    enum error error = outcome_of_run(pg_run(r->sale->pg, r->arena, STATEMENT_RESUME_LINE, &params, true, &rows));
    if (error != OK)
        return error;
    redis_script(&call, r->arena, SCRIPT_RESTORED);
    redis_key(&call, KEY_ADMISSION);
    redis_key(&call, KEY_SEQ);
    redis_text(&call, r->name);
    redis_text(&call, r->run);
    for (int column = 0; column < COLUMNS; column++)
        redis_text(&call, pg_get(rows, 0, column));
    return run_step(r, &call);
}

/* What is still in the stream goes first: then whom the history shows alive and Redis does not know has truly been
 * lost. */
static enum error write_history(struct restore *r)
{
    int64_t drained;
    enum error error;
    do {
        error = queue_drain(r->sale, r->arena, HISTORY_BATCH, &drained);
        end_batch(r);
    } while (error == OK && drained == HISTORY_BATCH);
    return error;
}

static enum error is_complete(struct restore *r, bool *complete)
{
    struct redis_call call;
    struct redis_value *mark;
    redis_command(&call, r->arena, "HGET", true);
    redis_key(&call, KEY_ADMISSION);
    redis_text(&call, "run");
    enum error error = redis_run_one(r->sale->redis, r->arena, &call, &mark);
    *complete = error == OK && mark->type == REDIS_TEXT && strcmp(mark->text, r->run) == 0;
    return error;
}

/* ---- in turn ---- */

/* Whether this process has not just been told that the line must be left to others. */
static bool is_anew(const struct sale *sale)
{
    return clock_monotonic() > sale->restore_after + CLOCK_SECOND;
}

/* Somebody is at it: a small line is complete in a moment, so that nobody need be told to come again. */
static enum error wait_for_others(struct restore *r)
{
    enum { LOOKS = 10, PAUSE_NS = 20000000 };
    bool complete = false;
    enum error error = OK;
    for (int i = 0; i < LOOKS && error == OK && !complete; i++) {
        struct timespec pause = {.tv_nsec = PAUSE_NS};
        nanosleep(&pause, NULL);
        error = is_complete(r, &complete);
    }
    return error == OK && !complete ? E_UNAVAILABLE : error;
}

static enum error restore_once(struct restore *r)
{
    int64_t people = 0, started = clock_monotonic();
    enum error error = begin(r);
    if (error != OK || r->complete)
        return error;
    error = write_history(r);
    if (error == OK)
        error = remove_ended(r);
    if (error == OK)
        error = put_live(r, &people);
    if (error == OK)
        error = forget_seats(r);
    if (error == OK)
        error = mark_complete(r);
    if (error == OK)
        log_notice("the line is complete again live=%" PRId64 " ms=%" PRId64, people,
                   (clock_monotonic() - started) / 1000);
    return error;
}

static enum error restore_alone(struct restore *r)
{
    enum { TRIES = 3 };
    enum error error = OK;
    redis_set_timeout(r->sale->redis, PATIENCE_MS);
    for (int i = 0; i < TRIES; i++) {
        error = restore_once(r);
        if (!r->overtaken)
            break;
        log_warning("the line was lost again while it was restored");
    }
    redis_set_timeout(r->sale->redis, r->sale->config->redis_timeout);
    if (error != OK)
        log_warning("the line could not be restored; it is tried again");
    return error;
}

/* With the lock, or after whoever has it. */
static enum error restore_in_turn(struct restore *r)
{
    struct sale *sale = r->sale;
    struct lock *lock;
    enum error error = lock_take(sale->config, r->arena, LOCK_RESTORE, &lock);
    if (error == OK && !lock)
        return is_anew(sale) ? wait_for_others(r) : E_UNAVAILABLE;
    if (error == OK)
        error = restore_alone(r);
    lock_release(lock);
    return error;
}

enum error restore_line(struct sale *sale, struct arena *request_arena)
{
    struct restore r = {.sale = sale, .arena = arena_new(65536)};
    bool complete = false;
    r.run = arena_strdup(request_arena, redis_run_name(sale->redis));
    enum error error = is_complete(&r, &complete);
    if (error == OK && !complete) {
        error = clock_monotonic() < sale->restore_after ? E_UNAVAILABLE : restore_in_turn(&r);
        if (error != OK && clock_monotonic() >= sale->restore_after)
            sale->restore_after = clock_monotonic() + LEAVE_US + random_jitter(LEAVE_US / 2);
    }
    arena_free(r.arena);
    return error;
}

bool restore_on_connect(struct redis *redis, void *context)
{
    struct sale *sale = context;
    struct arena *arena = arena_new(1024);
    (void)redis;
    bool good = restore_line(sale, arena) == OK;
    arena_free(arena);
    return good;
}

static bool is_lost(const struct redis_value *value)
{
    return value->type == REDIS_ARRAY && value->count > 0 && redis_integer_at(value, 0) == LINE_LOST;
}

enum error restore_and_run(struct sale *sale, struct arena *arena, struct redis_call *calls, size_t count,
                           struct redis_value **values)
{
    enum error error = redis_run(sale->redis, arena, calls, count, values);
    if (error != OK || !is_lost(values[0]))
        return error;
    error = restore_line(sale, arena);
    if (error == OK)
        error = redis_run(sale->redis, arena, calls, count, values);
    return error == OK && is_lost(values[0]) ? E_UNAVAILABLE : error;
}
