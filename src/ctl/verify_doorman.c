/* verify_doorman: what the doorman in Redis says of the seats against what PostgreSQL says.
 *
 * He is told after PostgreSQL has decided, so right after a decision he may differ. A seat that looks wrong is asked
 * for again, in the order PostgreSQL, doorman, PostgreSQL, until it is right or settle_ms are over. What he does not
 * know before he is loaded (no field v), and claims of which nothing became, are no breach: he then only refuses less
 * or more than he could. */
#include "ctl/verify.h"

#include "base/clock.h"
#include "base/encode.h"
#include "sale/keys.h"
#include "store/pg.h"
#include "store/redis.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SCHEDULES_AT_ONCE = 200, HALLS_AT_ONCE = 8, ASK_COUNT = 1000, PAUSE_MS = 200 };

/* A sold seat whose buyer's worker died before it told the doorman is still the buyer's claim; usher-scheduler expire
 * sells it when the claim has lapsed, and runs every minute. */
enum { REVIEW_MS = 90 * 1000 };

struct seat {
    int64_t schedule, seat;
};

struct seats {
    struct seat *items;
    size_t count, capacity;
};

/* What PostgreSQL says of a seat. */
struct truth {
    int64_t schedule, seat, reservation, user;
    int64_t deadline; /* ms; 0: sold */
    bool taken;
};

/* What the doorman says. */
struct claim {
    bool loaded; /* he knows this schedule */
    bool there;
    int64_t deadline, user;
};

static void add(struct seats *seats, int64_t schedule, int64_t seat)
{
    if (seats->count == seats->capacity) {
        seats->capacity = seats->capacity ? seats->capacity * 2 : 256;
        seats->items = reallocarray(seats->items, seats->capacity, sizeof *seats->items);
        if (!seats->items) {
            fprintf(stderr, "usherctl: out of memory\n");
            abort();
        }
    }
    seats->items[seats->count++] = (struct seat){schedule, seat};
}

void verify_doorman_free(struct seats *suspects)
{
    if (suspects)
        free(suspects->items);
    free(suspects);
}

/* ---- who is right ---- */

static bool is_sold(const struct claim *claim)
{
    return claim->there && claim->deadline == 0;
}

/* Nobody would be refused. */
static bool is_free(const struct claim *claim, int64_t now)
{
    return !claim->there || (claim->deadline != 0 && claim->deadline <= now);
}

enum verdict { RIGHT, UNSETTLED, GIVES_AWAY, KEEPS };

/* now: Redis' clock in ms. */
static enum verdict compare(const struct verify *verify, const struct truth *truth, const struct claim *claim,
                            int64_t now)
{
    bool sold = truth->taken && truth->deadline == 0;
    if (is_sold(claim))
        return sold ? RIGHT : KEEPS;
    if (!claim->loaded || !truth->taken)
        return RIGHT;
    if (sold) {
        bool buyers = claim->there && claim->user == truth->user && claim->deadline > now - REVIEW_MS;
        return buyers ? UNSETTLED : GIVES_AWAY;
    }
    /* A claim is made before its hold, so it lapses that much earlier. */
    int64_t earlier = verify->config->statement_timeout + 1000;
    bool same = claim->there && claim->user == truth->user && truth->deadline - claim->deadline <= earlier;
    return is_free(claim, now) && !same ? GIVES_AWAY : RIGHT;
}

/* ---- PostgreSQL's side ---- */

/* The first look: live tickets; a hold may have lapsed, and nobody's name is asked. */
#define SEATS_WITH_TICKET                                                                                              \
    "SELECT t.schedule_id, t.seat_id, r.status = 'paid'"                                                               \
    " FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id"                                         \
    " WHERE t.schedule_id = ANY ($1::bigint[]) AND t.live ORDER BY t.schedule_id, t.seat_id"

/* The second: the whole truth of some seats. */
#define SEATS_TAKEN                                                                                                    \
    "SELECT t.schedule_id, t.seat_id, r.id, r.user_id,"                                                                \
    " CASE r.status WHEN 'paid' THEN 0 ELSE (extract(epoch FROM r.expires_at) * 1000)::bigint END AS deadline"         \
    " FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id, (SELECT usher_clock() AS now) AS c"     \
    " WHERE t.schedule_id = ANY ($1::bigint[]) AND t.seat_id = ANY ($2::bigint[])"                                     \
    " AND t.live AND (r.status = 'paid' OR r.expires_at > c.now)"                                                      \
    " ORDER BY t.schedule_id, t.seat_id, deadline"

static struct truth read_truth(const struct pg_rows *rows, size_t row)
{
    enum { SCHEDULE, SEAT, RESERVATION, USER, DEADLINE };
    return (struct truth){
        .schedule = pg_get_int(rows, row, SCHEDULE),
        .seat = pg_get_int(rows, row, SEAT),
        .reservation = pg_get_int(rows, row, RESERVATION),
        .user = pg_get_int(rows, row, USER),
        .deadline = pg_get_int(rows, row, DEADLINE),
        .taken = true,
    };
}

static bool query(struct verify *verify, struct arena *scratch, const char *sql, const struct pg_params *params,
                  struct pg_rows **rows)
{
    const char *message = "";
    if (pg_run_sql(verify->pg, scratch, sql, params, rows, &message))
        return true;
    return verify_trouble(verify, arena_strdup(verify->arena, message));
}

static int order_of(int64_t schedule, int64_t seat, int64_t other_schedule, int64_t other_seat)
{
    if (schedule != other_schedule)
        return schedule < other_schedule ? -1 : 1;
    return (seat > other_seat) - (seat < other_seat);
}

/* The rows are by schedule and seat; *row moves on to the first one at or after this seat. Of two live tickets the sold
 * one counts. */
static struct truth truth_of(const struct pg_rows *rows, size_t *row, int64_t schedule, int64_t seat)
{
    for (; *row < pg_count(rows); ++*row) {
        struct truth truth = read_truth(rows, *row);
        int order = order_of(truth.schedule, truth.seat, schedule, seat);
        if (order == 0)
            return truth;
        if (order > 0)
            break;
    }
    return (struct truth){.schedule = schedule, .seat = seat};
}

/* ---- the doorman's side ---- */

static struct claim read_claim(const struct redis_value *value, bool loaded)
{
    struct claim claim = {.loaded = loaded};
    if (value->type != REDIS_TEXT)
        return claim;
    size_t length = strcspn(value->text, " ");
    claim.there = decimal_parse(value->text, length, 0, INT64_MAX, &claim.deadline) && value->text[length] == ' ' &&
                  decimal_parse(value->text + length + 1, value->length - length - 1, 1, INT64_MAX, &claim.user);
    return claim;
}

static void ask_time(struct redis_call *call, struct arena *scratch)
{
    redis_command(call, scratch, "TIME", true);
}

static int64_t read_time(const struct redis_value *time)
{
    return redis_integer_at(time, 0) * 1000 + redis_integer_at(time, 1) / 1000 + clock_offset_ms();
}

struct field {
    int64_t seat;
    const struct redis_value *value;
};

static int by_seat(const void *a, const void *b)
{
    const struct field *x = a, *y = b;
    return (x->seat > y->seat) - (x->seat < y->seat);
}

/* HGETALL's answer, by seat. */
static struct field *read_hall(struct arena *scratch, const struct redis_value *all, size_t *count, bool *loaded)
{
    struct field *fields = arena_array(scratch, all->count / 2 + 1, sizeof *fields);
    *count = 0;
    *loaded = false;
    for (size_t i = 0; i + 1 < all->count; i += 2) {
        int64_t seat = redis_integer_at(all, i);
        if (strcmp(redis_text_at(all, i), "v") == 0)
            *loaded = true;
        else if (seat > 0)
            fields[(*count)++] = (struct field){seat, all->items[i + 1]};
    }
    qsort(fields, *count, sizeof *fields, by_seat);
    return fields;
}

/* ---- the first look: whole halls ---- */

/* Whether a seat is worth a second look. A hold without a claim may just have lapsed or been given back. */
static bool looks_wrong(const struct claim *claim, bool has_ticket, bool paid, int64_t now)
{
    if (is_sold(claim))
        return !paid;
    return claim->loaded && has_ticket && (paid || is_free(claim, now));
}

/* rows from *row on are this schedule's, up to another one's. */
static void compare_hall(struct arena *scratch, int64_t schedule, const struct redis_value *all, int64_t now,
                         const struct pg_rows *rows, size_t *row, struct seats *suspects)
{
    enum { SCHEDULE, SEAT, PAID };
    bool loaded;
    size_t count, next = 0;
    struct field *fields = read_hall(scratch, all, &count, &loaded);
    for (;;) {
        int64_t ticket = INT64_MAX, field = next < count ? fields[next].seat : INT64_MAX;
        if (*row < pg_count(rows) && pg_get_int(rows, *row, SCHEDULE) == schedule)
            ticket = pg_get_int(rows, *row, SEAT);
        int64_t seat = ticket < field ? ticket : field;
        if (seat == INT64_MAX)
            return;
        struct claim claim = {.loaded = loaded};
        if (field == seat)
            claim = read_claim(fields[next++].value, loaded);
        bool paid = false;
        for (; *row < pg_count(rows) && pg_get_int(rows, *row, SCHEDULE) == schedule &&
               pg_get_int(rows, *row, SEAT) == seat;
             ++*row)
            paid = paid || *pg_get(rows, *row, PAID) == 't';
        if (looks_wrong(&claim, ticket == seat, paid, now))
            add(suspects, schedule, seat);
    }
}

static bool compare_halls(struct verify *verify, struct arena *scratch, const int64_t *schedules, size_t count,
                          struct seats *suspects)
{
    struct pg_params params = {.arena = scratch};
    struct pg_rows *rows;
    struct redis_call calls[HALLS_AT_ONCE + 1];
    struct redis_value *values[HALLS_AT_ONCE + 1];
    pg_ids(&params, schedules, count);
    if (!query(verify, scratch, SEATS_WITH_TICKET, &params, &rows))
        return false;
    for (size_t i = 0; i < count; i++) {
        redis_command(&calls[i], scratch, "HGETALL", true);
        redis_key(&calls[i], key_seats(scratch, schedules[i]));
    }
    ask_time(&calls[count], scratch);
    if (redis_run(verify->redis, scratch, calls, count + 1, values) != OK)
        return verify_no_redis(verify);
    size_t row = 0;
    for (size_t i = 0; i < count; i++)
        compare_hall(scratch, schedules[i], values[i], read_time(values[count]), rows, &row, suspects);
    return true;
}

/* Of these schedules those of which the doorman knows anything, in front. */
static bool keep_known(struct verify *verify, struct arena *scratch, int64_t *schedules, size_t *count)
{
    struct redis_call *calls = arena_array(scratch, *count, sizeof *calls);
    struct redis_value **values = arena_array(scratch, *count, sizeof(struct redis_value *));
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        redis_command(&calls[i], scratch, "EXISTS", true);
        redis_key(&calls[i], key_seats(scratch, schedules[i]));
    }
    if (redis_run(verify->redis, scratch, calls, *count, values) != OK)
        return verify_no_redis(verify);
    for (size_t i = 0; i < *count; i++) {
        if (values[i]->integer)
            schedules[kept++] = schedules[i];
    }
    *count = kept;
    return true;
}

bool verify_doorman_compare(struct verify *verify, struct seats **suspects)
{
    struct arena *list = arena_new(65536), *scratch = arena_new(65536);
    struct pg_rows *rows;
    *suspects = calloc(1, sizeof **suspects);
    if (!*suspects)
        abort();
    bool good = verify_query(verify, list, "SELECT id FROM concert_schedule ORDER BY id", &rows);
    size_t count = good ? pg_count(rows) : 0, known = 0;
    int64_t *schedules = arena_array(list, count, sizeof *schedules);
    for (size_t i = 0; good && i < count; i += SCHEDULES_AT_ONCE) {
        size_t some = count - i < SCHEDULES_AT_ONCE ? count - i : SCHEDULES_AT_ONCE;
        for (size_t s = 0; s < some; s++)
            schedules[known + s] = pg_get_int(rows, i + s, 0);
        good = keep_known(verify, scratch, schedules + known, &some);
        known += some;
        arena_reset(scratch);
    }
    for (size_t i = 0; good && i < known; i += HALLS_AT_ONCE) {
        good = compare_halls(verify, scratch, schedules + i, known - i < HALLS_AT_ONCE ? known - i : HALLS_AT_ONCE,
                             *suspects);
        arena_reset(scratch);
    }
    arena_free(scratch);
    arena_free(list);
    return good;
}

/* ---- asking again: single seats ---- */

static bool ask_truth(struct verify *verify, struct arena *scratch, const struct seat *seats, size_t count,
                      struct truth *truths)
{
    struct pg_params params = {.arena = scratch};
    struct pg_rows *rows;
    int64_t *schedules = arena_array(scratch, count, sizeof *schedules);
    int64_t *ids = arena_array(scratch, count, sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        schedules[i] = seats[i].schedule;
        ids[i] = seats[i].seat;
    }
    pg_ids(&params, schedules, count);
    pg_ids(&params, ids, count);
    if (!query(verify, scratch, SEATS_TAKEN, &params, &rows))
        return false;
    size_t row = 0;
    for (size_t i = 0; i < count; i++) /* suspects are by schedule and seat */
        truths[i] = truth_of(rows, &row, seats[i].schedule, seats[i].seat);
    return true;
}

static bool ask_doorman(struct verify *verify, struct arena *scratch, const struct seat *seats, size_t count,
                        struct claim *claims, int64_t *now)
{
    struct redis_call *calls = arena_array(scratch, count + 1, sizeof *calls);
    struct redis_value **values = arena_array(scratch, count + 1, sizeof(struct redis_value *));
    for (size_t i = 0; i < count; i++) {
        redis_command(&calls[i], scratch, "HMGET", true);
        redis_key(&calls[i], key_seats(scratch, seats[i].schedule));
        redis_text(&calls[i], "v");
        redis_int(&calls[i], seats[i].seat);
    }
    ask_time(&calls[count], scratch);
    if (redis_run(verify->redis, scratch, calls, count + 1, values) != OK)
        return verify_no_redis(verify);
    for (size_t i = 0; i < count; i++)
        claims[i] = read_claim(values[i]->items[1], values[i]->items[0]->type == REDIS_TEXT);
    *now = read_time(values[count]);
    return true;
}

/* Whether a verdict holds that lies between two looks at PostgreSQL: the same hold before and after was there in
 * between, a sold seat stays sold, and what was not sold afterwards was not before. */
static enum verdict between(const struct verify *verify, const struct truth *before, const struct claim *claim,
                            int64_t now, const struct truth *after)
{
    enum verdict verdict = compare(verify, before, claim, now);
    if (verdict == KEEPS)
        return compare(verify, after, claim, now);
    bool same = before->reservation == after->reservation && before->deadline == after->deadline;
    return verdict == GIVES_AWAY && !same ? RIGHT : verdict;
}

static void say(struct verify *verify, const struct truth *truth, const struct claim *claim, enum verdict verdict)
{
    const char *known = !claim->there ? "free" : claim->deadline == 0 ? "sold" : "claimed";
    const char *until =
        claim->there && claim->deadline ? arena_printf(verify->arena, " until %" PRId64, claim->deadline) : "";
    const char *to = claim->there ? arena_printf(verify->arena, " by user %" PRId64, claim->user) : "";
    if (verdict == GIVES_AWAY)
        verify_breach(verify, INVARIANT_DOORMAN_FREE,
                      "schedule %" PRId64 ", seat %" PRId64 ": %s%s%s, but reservation %" PRId64 " of user %" PRId64
                      " %s it",
                      truth->schedule, truth->seat, known, to, until, truth->reservation, truth->user,
                      truth->deadline ? "holds" : "has paid");
    else if (verdict == KEEPS)
        verify_breach(verify, INVARIANT_DOORMAN_SOLD,
                      "schedule %" PRId64 ", seat %" PRId64 ": sold%s, but nobody has paid it", truth->schedule,
                      truth->seat, to);
    else
        verify->unsettled++;
}

/* One piece of the suspects; those that still look wrong stay (in front, *kept of them), at the last look they are
 * said. */
static bool look(struct verify *verify, struct seats *suspects, size_t first, size_t count, size_t *kept, bool last)
{
    struct arena *scratch = arena_new(65536);
    struct truth *before = arena_array(scratch, count, sizeof *before),
                 *after = arena_array(scratch, count, sizeof *after);
    struct claim *claims = arena_array(scratch, count, sizeof *claims);
    const struct seat *seats = suspects->items + first;
    int64_t now = 0;
    bool good = ask_truth(verify, scratch, seats, count, before) &&
                ask_doorman(verify, scratch, seats, count, claims, &now) &&
                ask_truth(verify, scratch, seats, count, after);
    for (size_t i = 0; good && i < count; i++) {
        enum verdict verdict = between(verify, &before[i], &claims[i], now, &after[i]);
        if (verdict != RIGHT && last)
            say(verify, &after[i], &claims[i], verdict);
        if (verdict != RIGHT)
            suspects->items[(*kept)++] = seats[i];
    }
    arena_free(scratch);
    return good;
}

static bool look_at_all(struct verify *verify, struct seats *suspects, bool last)
{
    size_t kept = 0, count = suspects->count;
    bool good = true;
    for (size_t i = 0; good && i < count; i += ASK_COUNT)
        good = look(verify, suspects, i, count - i < ASK_COUNT ? count - i : ASK_COUNT, &kept, last);
    suspects->count = kept;
    return good;
}

bool verify_doorman_confirm(struct verify *verify, struct seats *suspects)
{
    int64_t until = clock_monotonic() + verify->settle_ms * 1000;
    bool good = true, last = false;
    while (good && suspects->count && !last) {
        last = clock_monotonic() >= until;
        good = look_at_all(verify, suspects, last);
        if (good && suspects->count && !last) {
            struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
            nanosleep(&pause, NULL);
        }
    }
    verify->findings[INVARIANT_DOORMAN_FREE].checked = verify->findings[INVARIANT_DOORMAN_SOLD].checked = good;
    return good;
}
