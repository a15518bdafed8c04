/* verify_history: the line in Redis against its history in PostgreSQL.
 *
 * Every step of somebody in the line writes an event in the same moment; the event stays in the stream until it is
 * recorded in PostgreSQL. So the history may lag behind the line by what is in the stream, and a ticket's state only
 * moves on: waiting, active, over. Asked in the order line, stream, history, line again, a ticket is wrong when
 *   - history is behind what the line said before, and no event of the ticket waits, or
 *   - history is ahead of what the line says afterwards. */
#include "ctl/verify.h"

#include "sale/keys.h"
#include "store/pg.h"
#include "store/redis.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 50000, ASK_COUNT = 1000, STREAM_COUNT = 1000 };

/* A ticket's states in the order in which they come; NOWHERE: the history does not know the ticket. */
enum state { NOWHERE, WAITING, ACTIVE, OVER };
static const char *const words[] = {"unknown", "waiting", "active", "over"};

/* ---- who is not the same in both ---- */

/* Both by ticket; what of places lies below `end` is compared, and *next moves on. */
static void compare_slice(const struct places *places, size_t *next, const struct pg_rows *rows, int64_t end,
                          struct places *suspects)
{
    enum { TICKET, USER, IS_ACTIVE };
    size_t row = 0, count = pg_count(rows);
    for (;;) {
        const struct place *here =
            *next < places->count && places->items[*next].ticket < end ? &places->items[*next] : NULL;
        struct place there = {.ticket = row < count ? pg_get_int(rows, row, TICKET) : INT64_MAX};
        if (!here && row == count)
            return;
        if (row < count) {
            there.user = pg_get_int(rows, row, USER);
            there.active = *pg_get(rows, row, IS_ACTIVE) == 't';
        }
        bool from_line = here && here->ticket <= there.ticket, from_history = !here || there.ticket <= here->ticket;
        if (!from_line || !from_history || here->user != there.user || here->active != there.active) {
            if (from_history)
                places_add(suspects, there);
            if (from_line && (!from_history || here->user != there.user))
                places_add(suspects, *here);
        }
        *next += from_line;
        row += from_history;
    }
}

bool verify_history_compare(struct verify *verify, const struct places *places, struct places *suspects)
{
    struct arena *scratch = arena_new(4096);
    struct pg_rows *rows;
    int64_t after = 0, end;
    size_t next = 0;
    bool good;
    do {
        const char *sql =
            arena_printf(scratch,
                         "SELECT id, user_id, status = 'active' FROM waiting_token"
                         " WHERE status IN ('waiting', 'active') AND id > %" PRId64 " ORDER BY id LIMIT %d",
                         after, SLICE);
        good = verify_query(verify, scratch, sql, &rows);
        size_t count = good ? pg_count(rows) : 0;
        end = count == SLICE ? pg_get_int(rows, count - 1, 0) + 1 : INT64_MAX;
        if (good)
            compare_slice(places, &next, rows, end, suspects);
        after = end - 1;
        arena_reset(scratch);
    } while (good && end != INT64_MAX);
    arena_free(scratch);
    return good;
}

/* ---- asking again ---- */

/* What the line says of the people's tickets: a later ticket of the user means that this one is over. */
static bool ask_line(struct verify *verify, struct arena *scratch, const struct place *people, size_t count,
                     enum state *states)
{
    struct redis_call call;
    struct redis_value *records;
    redis_command(&call, scratch, "HMGET", true);
    redis_key(&call, KEY_TOKENS);
    for (size_t i = 0; i < count; i++)
        redis_int(&call, people[i].user);
    if (redis_run_one(verify->redis, scratch, &call, &records) != OK || records->count != count)
        return verify_no_redis(verify);
    for (size_t i = 0; i < count; i++) {
        struct place now;
        bool there = records->items[i]->type == REDIS_TEXT && place_read(records->items[i]->text, &now);
        states[i] = !there || now.ticket != people[i].ticket ? OVER : now.active ? ACTIVE : WAITING;
    }
    return true;
}

static bool ask_history(struct verify *verify, struct arena *scratch, const struct place *people, size_t count,
                        enum state *states)
{
    enum { TICKET, USER, STATE };
    struct pg_params params = {.arena = scratch};
    struct pg_rows *rows;
    const char *message = "";
    int64_t *tickets = arena_array(scratch, count, sizeof *tickets);
    for (size_t i = 0; i < count; i++)
        tickets[i] = people[i].ticket;
    pg_ids(&params, tickets, count);
    if (!pg_run_sql(verify->pg, scratch,
                    "SELECT id, user_id, CASE status WHEN 'waiting' THEN 1 WHEN 'active' THEN 2 ELSE 3 END"
                    " FROM waiting_token WHERE id = ANY ($1::bigint[]) ORDER BY id",
                    &params, &rows, &message))
        return verify_trouble(verify, arena_strdup(verify->arena, message));
    for (size_t i = 0, row = 0; i < count; i++) { /* people are by ticket */
        while (row < pg_count(rows) && pg_get_int(rows, row, TICKET) < people[i].ticket)
            row++;
        bool there = row < pg_count(rows) && pg_get_int(rows, row, TICKET) == people[i].ticket &&
                     pg_get_int(rows, row, USER) == people[i].user;
        states[i] = there ? (enum state)pg_get_int(rows, row, STATE) : NOWHERE;
    }
    return true;
}

/* ---- the stream ---- */

/* The last id that the stream has given so far; what comes later is not waited for. "" when there is none. */
static bool last_event(struct verify *verify, struct arena *scratch, const char **last)
{
    struct redis_call call;
    struct redis_value *entries;
    redis_command(&call, scratch, "XREVRANGE", true);
    redis_key(&call, KEY_EVENTS);
    redis_text(&call, "+");
    redis_text(&call, "-");
    redis_text(&call, "COUNT");
    redis_int(&call, 1);
    *last = "";
    if (redis_run_one(verify->redis, scratch, &call, &entries) != OK || entries->type != REDIS_ARRAY)
        return verify_no_redis(verify);
    if (entries->count)
        *last = arena_strdup(verify->arena, redis_text_at(entries->items[0], 0));
    return true;
}

static void read_events(const struct redis_value *entries, struct places *pending)
{
    for (size_t i = 0; i < entries->count; i++) {
        const struct redis_value *entry = entries->items[i];
        const struct redis_value *fields = entry->type == REDIS_ARRAY && entry->count == 2 ? entry->items[1] : NULL;
        for (size_t f = 0; fields && f + 1 < fields->count; f += 2) {
            if (strcmp(redis_text_at(fields, f), "k") == 0)
                places_add(pending, (struct place){.ticket = redis_integer_at(fields, f + 1)});
        }
    }
}

/* The tickets of the events that wait to be written. */
static bool read_stream(struct verify *verify, struct places *pending)
{
    struct arena *scratch = arena_new(256 * 1024);
    const char *last, *after = "-";
    char next[64];
    bool good = last_event(verify, scratch, &last);
    size_t count = good && *last ? STREAM_COUNT : 0;
    while (good && count == STREAM_COUNT) {
        struct redis_call call;
        struct redis_value *entries;
        redis_command(&call, scratch, "XRANGE", true);
        redis_key(&call, KEY_EVENTS);
        redis_text(&call, after);
        redis_text(&call, last);
        redis_text(&call, "COUNT");
        redis_int(&call, STREAM_COUNT);
        good = (redis_run_one(verify->redis, scratch, &call, &entries) == OK && entries->type == REDIS_ARRAY) ||
               verify_no_redis(verify);
        count = good ? entries->count : 0;
        if (count) {
            read_events(entries, pending);
            snprintf(next, sizeof next, "(%s", redis_text_at(entries->items[count - 1], 0));
            after = next;
        }
        arena_reset(scratch);
    }
    arena_free(scratch);
    return good;
}

static int by_ticket(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return (x->ticket > y->ticket) - (x->ticket < y->ticket);
}

static bool is_pending(const struct places *pending, int64_t ticket)
{
    struct place wanted = {.ticket = ticket};
    return pending->count && bsearch(&wanted, pending->items, pending->count, sizeof wanted, by_ticket);
}

/* ---- the verdict ---- */

static void judge(struct verify *verify, const struct place *place, enum state before, enum state history,
                  enum state after, bool pending)
{
    bool behind = history < before && !pending, ahead = history > after;
    /* A ticket of which history knows nothing and which the line does not have either: another user's, or none. */
    if (history == NOWHERE && before == OVER)
        behind = false;
    if (behind || ahead)
        verify_breach(verify, INVARIANT_LINE_HISTORY,
                      "ticket %" PRId64 ": user %" PRId64 " is %s, but %s in the history", place->ticket, place->user,
                      words[behind ? before : after], words[history]);
}

static bool confirm(struct verify *verify, struct arena *scratch, const struct place *people, size_t count,
                    const enum state *before, const struct places *pending)
{
    enum state *history = arena_array(scratch, count, sizeof *history);
    enum state *after = arena_array(scratch, count, sizeof *after);
    if (!ask_history(verify, scratch, people, count, history) || !ask_line(verify, scratch, people, count, after))
        return false;
    for (size_t i = 0; i < count; i++)
        judge(verify, &people[i], before[i], history[i], after[i], is_pending(pending, people[i].ticket));
    return true;
}

typedef bool piece(struct verify *verify, struct arena *scratch, const struct place *people, size_t count,
                   enum state *states, const struct places *pending);

static bool first_look(struct verify *verify, struct arena *scratch, const struct place *people, size_t count,
                       enum state *states, const struct places *pending)
{
    (void)pending;
    return ask_line(verify, scratch, people, count, states);
}

static bool second_look(struct verify *verify, struct arena *scratch, const struct place *people, size_t count,
                        enum state *states, const struct places *pending)
{
    return confirm(verify, scratch, people, count, states, pending);
}

static bool in_pieces(struct verify *verify, const struct places *suspects, piece *work, enum state *states,
                      const struct places *pending)
{
    struct arena *scratch = arena_new(64 * 1024);
    bool good = true;
    for (size_t i = 0; good && i < suspects->count; i += ASK_COUNT) {
        size_t count = suspects->count - i < ASK_COUNT ? suspects->count - i : ASK_COUNT;
        good = work(verify, scratch, suspects->items + i, count, states + i, pending);
        arena_reset(scratch);
    }
    arena_free(scratch);
    return good;
}

bool verify_history_confirm(struct verify *verify, const struct places *suspects)
{
    struct arena *scratch = arena_new(4096);
    struct places pending = {.count = 0};
    enum state *before = arena_array(scratch, suspects->count, sizeof *before);
    bool good =
        in_pieces(verify, suspects, first_look, before, NULL) && (!suspects->count || read_stream(verify, &pending));
    if (pending.count)
        qsort(pending.items, pending.count, sizeof *pending.items, by_ticket);
    good = good && in_pieces(verify, suspects, second_look, before, &pending);
    places_free(&pending);
    arena_free(scratch);
    verify->findings[INVARIANT_LINE_HISTORY].checked = good;
    return good;
}
