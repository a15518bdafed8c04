/* verify_line: the line in Redis: tokens, waiting, active, and the numbers that only rise.
 *
 * The three are read in steps while people move between them, so a reading proves nothing. Whoever seems misplaced is
 * asked for in one transaction, which answers for one moment. */
#include "ctl/verify.h"

#include "base/encode.h"
#include "sale/keys.h"
#include "store/pg.h"
#include "store/redis.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_COUNT = 1000, ASK_COUNT = 500 };

/* ---- places ---- */

void places_add(struct places *places, struct place place)
{
    if (places->count == places->capacity) {
        places->capacity = places->capacity ? places->capacity * 2 : 1024;
        places->items = reallocarray(places->items, places->capacity, sizeof *places->items);
        if (!places->items) {
            fprintf(stderr, "usherctl: out of memory\n");
            abort();
        }
    }
    places->items[places->count++] = place;
}

void places_free(struct places *places)
{
    free(places->items);
    *places = (struct places){.count = 0};
}

static bool read_number(const char **text, int64_t *number)
{
    size_t length = strcspn(*text, " ");
    bool good = decimal_parse(*text, length, 1, INT64_MAX, number);
    *text += length;
    *text += **text == ' ';
    return good;
}

bool place_read(const char *record, struct place *place)
{
    int64_t issued, activated, used;
    place->active = false;
    if (!read_number(&record, &place->ticket) || !read_number(&record, &issued))
        return false;
    place->active = *record != '\0';
    if (place->active && !read_number(&record, &activated))
        return false;
    return !*record || (read_number(&record, &used) && !*record);
}

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_user(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return compare(x->user, y->user);
}

static int by_ticket(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int order = compare(x->ticket, y->ticket);
    return order ? order : compare(x->user, y->user);
}

static void sort(struct places *places, int (*order)(const void *, const void *))
{
    if (places->count)
        qsort(places->items, places->count, sizeof *places->items, order);
}

/* Equal neighbours become one, the later reading. A scan may tell of somebody twice. */
static void unite(struct places *places, int (*order)(const void *, const void *))
{
    size_t kept = 0;
    for (size_t i = 0; i < places->count; i++) {
        if (kept && order(&places->items[kept - 1], &places->items[i]) == 0)
            kept--;
        places->items[kept++] = places->items[i];
    }
    places->count = kept;
}

/* ---- reading all of it ---- */

enum which { TOKENS, WAITING, ACTIVE };
static const char *const keys[] = {KEY_TOKENS, KEY_WAITING, KEY_ACTIVE};

/* A step's answer: user and record or score by turns. A record that cannot be read has no ticket, and is asked again.
 */
static void read_step(struct verify *verify, enum which which, const struct redis_value *step, struct places *places)
{
    for (size_t i = 0; i + 1 < step->count; i += 2) {
        const char *value = redis_text_at(step, i + 1);
        struct place place = {.user = redis_integer_at(step, i)};
        if (place.user <= 0) {
            verify_breach(verify, INVARIANT_LINE_PLACE, "%s: \"%.60s\" is no user", keys[which],
                          redis_text_at(step, i));
            continue;
        }
        if (which == TOKENS ? !place_read(value, &place)
                            : !decimal_parse(value, strlen(value), 1, INT64_MAX, &place.ticket))
            place.ticket = 0;
        places_add(places, place);
    }
}

static bool scan(struct verify *verify, enum which which, struct places *places)
{
    struct arena *scratch = arena_new(256 * 1024);
    const char *cursor = "0";
    char next[32];
    bool good = true;
    do {
        struct redis_call call;
        struct redis_value *reply;
        redis_command(&call, scratch, which == TOKENS ? "HSCAN" : "ZSCAN", true);
        redis_key(&call, keys[which]);
        redis_text(&call, cursor);
        redis_text(&call, "COUNT");
        redis_int(&call, SCAN_COUNT);
        good = redis_run_one(verify->redis, scratch, &call, &reply) == OK && reply->type == REDIS_ARRAY &&
               reply->count == 2;
        if (good) {
            snprintf(next, sizeof next, "%s", redis_text_at(reply, 0));
            read_step(verify, which, reply->items[1], places);
        }
        arena_reset(scratch);
        cursor = next;
    } while (good && strcmp(cursor, "0") != 0);
    arena_free(scratch);
    sort(places, by_user);
    unite(places, by_user);
    return good || verify_no_redis(verify);
}

/* ---- who seems misplaced ---- */

static const struct place *take(const struct places *places, size_t *next, int64_t user)
{
    if (*next < places->count && places->items[*next].user == user)
        return &places->items[(*next)++];
    return NULL;
}

static int64_t user_at(const struct places *places, size_t next)
{
    return next < places->count ? places->items[next].user : INT64_MAX;
}

/* All three by user. */
static void find_misplaced(const struct places *all, struct places *misplaced)
{
    size_t next[] = {0, 0, 0};
    for (;;) {
        int64_t user = INT64_MAX;
        for (int i = TOKENS; i <= ACTIVE; i++)
            user = user_at(&all[i], next[i]) < user ? user_at(&all[i], next[i]) : user;
        if (user == INT64_MAX)
            return;
        const struct place *token = take(&all[TOKENS], &next[TOKENS], user);
        const struct place *waiting = take(&all[WAITING], &next[WAITING], user);
        const struct place *active = take(&all[ACTIVE], &next[ACTIVE], user);
        bool good = token && token->ticket && token->active == !!active && token->active == !waiting &&
                    (!waiting || waiting->ticket == token->ticket);
        if (!good)
            places_add(misplaced, (struct place){.user = user});
    }
}

/* One user at one moment. waiting and active are scores, NULL where the user is not. */
static void judge(struct verify *verify, int64_t user, const char *record, const char *waiting, const char *active)
{
    struct place place = {.user = user};
    int64_t score = 0;
    if (!record && !waiting && !active)
        return;
    if (!record || !place_read(record, &place) || place.active != !!active || place.active != !waiting) {
        verify_breach(verify, INVARIANT_LINE_PLACE, "user %" PRId64 ": record \"%.60s\"%s%s", user,
                      record ? record : "", waiting ? ", waiting" : "", active ? ", active" : "");
    } else if (waiting && (!decimal_parse(waiting, strlen(waiting), 1, INT64_MAX, &score) || score != place.ticket)) {
        verify_breach(verify, INVARIANT_LINE_ORDER, "user %" PRId64 ": ticket %" PRId64 ", but stands at %.30s", user,
                      place.ticket, waiting);
    }
}

static const char *text_or_null(const struct redis_value *values, size_t index)
{
    return values->items[index]->type == REDIS_TEXT ? values->items[index]->text : NULL;
}

/* Up to ASK_COUNT users in one transaction. */
static bool ask(struct verify *verify, struct arena *scratch, const struct place *people, size_t count)
{
    static const char *const commands[] = {"HMGET", "ZMSCORE", "ZMSCORE"};
    struct redis_call calls[5];
    struct redis_value *values[5];
    redis_command(&calls[0], scratch, "MULTI", true);
    for (int i = TOKENS; i <= ACTIVE; i++) {
        redis_command(&calls[1 + i], scratch, commands[i], true);
        redis_key(&calls[1 + i], keys[i]);
        for (size_t p = 0; p < count; p++)
            redis_int(&calls[1 + i], people[p].user);
    }
    redis_command(&calls[4], scratch, "EXEC", true);
    if (redis_run(verify->redis, scratch, calls, 5, values) != OK || values[4]->type != REDIS_ARRAY ||
        values[4]->count != 3)
        return verify_no_redis(verify);
    for (int i = TOKENS; i <= ACTIVE; i++) {
        if (values[4]->items[i]->type != REDIS_ARRAY || values[4]->items[i]->count != count)
            return verify_no_redis(verify);
    }
    for (size_t p = 0; p < count; p++)
        judge(verify, people[p].user, text_or_null(values[4]->items[TOKENS], p),
              text_or_null(values[4]->items[WAITING], p), text_or_null(values[4]->items[ACTIVE], p));
    return true;
}

static bool ask_all(struct verify *verify, const struct places *people)
{
    struct arena *scratch = arena_new(64 * 1024);
    bool good = true;
    for (size_t i = 0; good && i < people->count; i += ASK_COUNT) {
        size_t count = people->count - i < ASK_COUNT ? people->count - i : ASK_COUNT;
        good = ask(verify, scratch, people->items + i, count);
        arena_reset(scratch);
    }
    arena_free(scratch);
    return good;
}

/* A ticket belongs to one user for ever. places by ticket. */
static void find_shared_tickets(struct verify *verify, const struct places *places)
{
    for (size_t i = 1; i < places->count; i++) {
        const struct place *a = &places->items[i - 1], *b = &places->items[i];
        if (a->ticket == b->ticket && a->ticket)
            verify_breach(verify, INVARIANT_LINE_ORDER, "ticket %" PRId64 ": users %" PRId64 " and %" PRId64, a->ticket,
                          a->user, b->user);
    }
}

bool verify_line(struct verify *verify, struct places *places)
{
    struct places all[] = {{.count = 0}, {.count = 0}, {.count = 0}}, misplaced = {.count = 0};
    bool good = true;
    for (int i = TOKENS; good && i <= ACTIVE; i++)
        good = scan(verify, (enum which)i, &all[i]);
    if (good) {
        find_misplaced(all, &misplaced);
        good = ask_all(verify, &misplaced);
    }
    places_free(&all[WAITING]);
    places_free(&all[ACTIVE]);
    places_free(&misplaced);
    *places = all[TOKENS];
    sort(places, by_ticket);
    find_shared_tickets(verify, places);
    verify->findings[INVARIANT_LINE_PLACE].checked = good;
    return good;
}

/* ---- the numbers ---- */

/* Who waits although a later ticket has been admitted: `serving` was read before, so all of these stood in line then.
 */
static bool find_skipped(struct verify *verify, struct arena *scratch, int64_t serving)
{
    struct redis_call calls[2];
    struct redis_value *values[2];
    redis_command(&calls[0], scratch, "ZCOUNT", true);
    redis_key(&calls[0], KEY_WAITING);
    redis_text(&calls[0], "-inf");
    redis_int(&calls[0], serving);
    redis_command(&calls[1], scratch, "ZRANGEBYSCORE", true);
    redis_key(&calls[1], KEY_WAITING);
    redis_text(&calls[1], "-inf");
    redis_int(&calls[1], serving);
    redis_text(&calls[1], "LIMIT");
    redis_int(&calls[1], 0);
    redis_int(&calls[1], EXAMPLES);
    if (redis_run(verify->redis, scratch, calls, 2, values) != OK)
        return verify_no_redis(verify);
    for (size_t i = 0; i < values[1]->count && (int64_t)i < values[0]->integer; i++)
        verify_breach(verify, INVARIANT_LINE_ORDER, "user %.30s: still waits, but ticket %" PRId64 " was admitted",
                      redis_text_at(values[1], i), serving);
    if (values[0]->integer > EXAMPLES)
        verify->findings[INVARIANT_LINE_ORDER].breaches += values[0]->integer - EXAMPLES;
    verify->findings[INVARIANT_LINE_ORDER].checked = true;
    return true;
}

static void judge_counter(struct verify *verify, const struct places *places, int64_t history, int64_t serving,
                          int64_t issued)
{
    bool known = false;
    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->items[i];
        known = known || place->ticket >= history;
        if (place->ticket > issued)
            verify_breach(verify, INVARIANT_TICKET_COUNTER,
                          "user %" PRId64 ": ticket %" PRId64 ", but the last one issued is %" PRId64, place->user,
                          place->ticket, issued);
    }
    if (history > issued && !known)
        verify_breach(verify, INVARIANT_TICKET_COUNTER,
                      "the history has ticket %" PRId64 ", but the last one issued is %" PRId64, history, issued);
    if (serving > issued)
        verify_breach(verify, INVARIANT_TICKET_COUNTER,
                      "ticket %" PRId64 " is being served, but the last one issued is %" PRId64, serving, issued);
    verify->findings[INVARIANT_TICKET_COUNTER].checked = true;
}

static void judge_serving(struct verify *verify, const struct places *places, int64_t serving)
{
    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->items[i];
        if (place->active && place->ticket > serving)
            verify_breach(verify, INVARIANT_SERVING,
                          "user %" PRId64 ": ticket %" PRId64 " is admitted, but %" PRId64 " is being served",
                          place->user, place->ticket, serving);
    }
    verify->findings[INVARIANT_SERVING].checked = true;
}

/* Who came and who went both only lower the number of those whose time is not over; nobody is admitted beyond it. most:
 * what promote.lua has noted, greater than active_max while people of a greater one are still active. */
static void judge_active(struct verify *verify, int64_t active, int64_t most)
{
    if (most < verify->config->active_max)
        most = verify->config->active_max;
    struct finding *finding = &verify->findings[INVARIANT_ACTIVE_MAX];
    finding->checked = true;
    if (active <= most)
        return;
    verify_breach(verify, INVARIANT_ACTIVE_MAX, "%" PRId64 " are active, %" PRId64 " may be", active, most);
    finding->breaches = active - most;
}

bool verify_numbers(struct verify *verify, const struct places *places)
{
    enum { SERVING = 1, ISSUED = 2, ACTIVE_NOW = 4 };
    struct arena *scratch = arena_new(16384);
    struct pg_rows *rows;
    struct redis_call calls[2];
    struct redis_value *values[2];
    bool good = verify_query(verify, scratch, "SELECT coalesce(max(id), 0) FROM waiting_token", &rows);
    int64_t history = good ? pg_get_int(rows, 0, 0) : 0;
    if (good) {
        redis_script(&calls[0], scratch, SCRIPT_LINE);
        redis_key(&calls[0], KEY_WAITING);
        redis_key(&calls[0], KEY_ACTIVE);
        redis_key(&calls[0], KEY_SEQ);
        redis_key(&calls[0], KEY_ADMISSION);
        redis_command(&calls[1], scratch, "HMGET", true);
        redis_key(&calls[1], KEY_ADMISSION);
        redis_text(&calls[1], "run");
        redis_text(&calls[1], "allowed");
        good = redis_run(verify->redis, scratch, calls, 2, values) == OK || verify_no_redis(verify);
    }
    if (good) {
        const struct redis_value *line = values[0];
        int64_t serving = redis_integer_at(line, SERVING);
        judge_counter(verify, places, history, serving, redis_integer_at(line, ISSUED));
        judge_serving(verify, places, serving);
        judge_active(verify, redis_integer_at(line, ACTIVE_NOW), redis_integer_at(values[1], 1));
        verify->line_lost = history > 0 && *redis_text_at(values[1], 0) == '\0';
        good = find_skipped(verify, scratch, serving);
    }
    arena_free(scratch);
    return good;
}
