/* admission: the scheduler's and the operator's side of the line (declared in queue.h). */
#include "base/buf.h"
#include "base/log.h"
#include "sale/keys.h"
#include "sale/outcome.h"
#include "sale/queue.h"
#include "sale/restore.h"
#include "store/pg.h"
#include "store/redis.h"

#include <string.h>

enum error queue_promote(struct sale *sale, struct arena *arena, struct promotion *promotion)
{
    const struct config *config = sale->config;
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_PROMOTE);
    queue_gate_keys(&call);
    redis_key(&call, KEY_EVENTS);
    redis_key(&call, KEY_ADMITTED);
    redis_key(&call, KEY_PULSE);
    redis_int(&call, config->promote_batch);
    redis_int(&call, config->promote_period);
    redis_int(&call, config->active_max);
    redis_int(&call, config->claim_window);
    redis_int(&call, strcmp(config->admission, "adaptive") == 0);
    redis_int(&call, config->active_min);
    enum error error = redis_run_one(sale->redis, arena, &call, &reply);
    if (error != OK)
        return error;
    if (redis_integer_at(reply, 0) < 0) /* the line is lost: the next tick admits again */
        return restore_line(sale, arena);
    promotion->admitted = redis_integer_at(reply, 0);
    promotion->waiting = redis_integer_at(reply, 1);
    promotion->active = redis_integer_at(reply, 2);
    promotion->serving = redis_integer_at(reply, 3);
    return OK;
}

enum error queue_lapse(struct sale *sale, struct arena *arena, int64_t batch, int64_t *ended)
{
    struct redis_call call;
    struct redis_value *reply;
    redis_script(&call, arena, SCRIPT_LAPSE);
    redis_key(&call, KEY_TOKENS);
    redis_key(&call, KEY_ACTIVE);
    redis_key(&call, KEY_EVENTS);
    redis_key(&call, KEY_ADMISSION);
    redis_int(&call, batch);
    enum error error = redis_run_one(sale->redis, arena, &call, &reply);
    *ended = error == OK ? reply->integer : 0;
    return error;
}

static enum error keep_pause(struct sale *sale, struct arena *arena, bool paused)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_bool(&params, paused);
    return outcome_of_run(pg_run(sale->pg, arena, STATEMENT_PAUSE_LINE, &params, true, &rows));
}

/* PostgreSQL first: cut off in between, the line goes on as it was, and a loss of Redis gives what was asked for last.
 */
enum error queue_pause(struct sale *sale, struct arena *arena, bool paused, bool *was_paused, bool *kept)
{
    struct redis_call call;
    struct redis_value *reply;
    *was_paused = false;
    *kept = keep_pause(sale, arena, paused) == OK;
    if (!*kept && !paused)
        return E_UNAVAILABLE;
    redis_script(&call, arena, SCRIPT_PAUSE);
    queue_gate_keys(&call);
    redis_text(&call, paused ? "1" : "0");
    enum error error = restore_and_run(sale, arena, &call, 1, &reply);
    *was_paused = error == OK && redis_integer_at(reply, 0) != 0;
    return error;
}

/* ---- history: the stream goes to PostgreSQL in batches ---- */

/* One entry's fields by their one-letter names; false for an entry that is not ours. */
struct event {
    const char *name;
    int64_t ticket, user, at;
};

static bool read_event(const struct redis_value *entry, struct event *event)
{
    if (entry->type != REDIS_ARRAY || entry->count != 2 || entry->items[1]->type != REDIS_ARRAY)
        return false;
    const struct redis_value *fields = entry->items[1];
    *event = (struct event){.name = NULL};
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        const char *field = redis_text_at(fields, i);
        if (strcmp(field, "e") == 0)
            event->name = redis_text_at(fields, i + 1);
        else if (strcmp(field, "k") == 0)
            event->ticket = redis_integer_at(fields, i + 1);
        else if (strcmp(field, "u") == 0)
            event->user = redis_integer_at(fields, i + 1);
        else if (strcmp(field, "at") == 0)
            event->at = redis_integer_at(fields, i + 1);
    }
    static const char *const known[] = {"issued", "activated", "used", "expired", "left"};
    for (size_t i = 0; event->name && i < sizeof known / sizeof *known; i++) {
        if (strcmp(event->name, known[i]) == 0)
            return event->ticket > 0 && event->user > 0;
    }
    return false;
}

static enum error record(struct sale *sale, struct arena *arena, const struct redis_value *entries)
{
    int64_t *tickets = arena_array(arena, entries->count, sizeof *tickets);
    int64_t *users = arena_array(arena, entries->count, sizeof *users);
    int64_t *times = arena_array(arena, entries->count, sizeof *times);
    struct buf names;
    size_t count = 0;

    buf_init(&names, arena, entries->count * 10 + 3);
    buf_putc(&names, '{');
    for (size_t i = 0; i < entries->count; i++) {
        struct event event;
        if (!read_event(entries->items[i], &event)) {
            log_warning("an entry of the line's history is not ours and is left out");
            continue;
        }
        if (count)
            buf_putc(&names, ',');
        buf_puts(&names, event.name);
        tickets[count] = event.ticket;
        users[count] = event.user;
        times[count++] = event.at;
    }
    buf_putc(&names, '}');

    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_ids(&params, tickets, count);
    pg_ids(&params, users, count);
    pg_text(&params, names.data);
    pg_ids(&params, times, count);
    return pg_run(sale->pg, arena, STATEMENT_RECORD_LINE, &params, true, &rows) == PG_OK ? OK : E_UNAVAILABLE;
}

enum error queue_drain(struct sale *sale, struct arena *arena, int64_t batch, int64_t *drained)
{
    struct redis_call read, trim;
    struct redis_value *entries, *trimmed;
    *drained = 0;
    redis_command(&read, arena, "XRANGE", true);
    redis_key(&read, KEY_EVENTS);
    redis_text(&read, "-");
    redis_text(&read, "+");
    redis_text(&read, "COUNT");
    redis_int(&read, batch);
    enum error error = redis_run_one(sale->redis, arena, &read, &entries);
    if (error != OK || entries->type != REDIS_ARRAY || entries->count == 0)
        return error;
    error = record(sale, arena, entries);
    if (error != OK)
        return error;

    /* Only what is recorded goes; if this is cut off, it is recorded again, which changes nothing. */
    redis_command(&trim, arena, "XDEL", true);
    redis_key(&trim, KEY_EVENTS);
    for (size_t i = 0; i < entries->count; i++)
        redis_text(&trim, redis_text_at(entries->items[i], 0));
    error = redis_run_one(sale->redis, arena, &trim, &trimmed);
    *drained = (int64_t)entries->count;
    return error;
}
