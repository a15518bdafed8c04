/* reservation: the doorman in Redis claims, PostgreSQL (sql/003_reservation.sql) decides, and where the two differ the
 * doorman is put right. */
#include "sale/reservation.h"

#include "base/buf.h"
#include "base/encode.h"
#include "base/log.h"
#include "sale/doorman.h"
#include "sale/keys.h"
#include "sale/outcome.h"
#include "sale/queue.h"
#include "sale/restore.h"
#include "store/pg.h"
#include "store/redis.h"

#include <string.h>

/* hold.lua's own verdict, beside the gate's. */
enum { HOLD_TAKEN = 3, HOLD_COLD = 4 };

/* A hold keeps its owner's token alive so much longer than itself: PostgreSQL's deadline is a little later than Redis'.
 */
enum { TOKEN_GRACE_MS = 5000 };

/* A claim is made before its hold is decided, so it ends earlier; but Redis' clock may be ahead by so much. */
enum { SKEW_MS = 1000 };

/* A hold that ends so much later than its claim was decided late: the claim may have been reviewed, or lost with Redis,
 * and the token was not kept alive for long enough. */
enum { LATE_MS = 2000 };

static enum error claim(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule,
                        const int64_t *seats, size_t count, struct redis_value **reply)
{
    struct redis_call call;
    redis_script(&call, arena, SCRIPT_HOLD);
    queue_gate_keys(&call);
    redis_key(&call, key_seats(arena, schedule));
    queue_gate_arguments(sale, &call, pass);
    redis_int(&call, sale->config->hold_ttl);
    redis_int(&call, TOKEN_GRACE_MS);
    for (size_t i = 0; i < count; i++)
        redis_int(&call, seats[i]);
    return restore_and_run(sale, arena, &call, 1, reply);
}

/* The claim; a doorman who knows nothing yet is told everything first. */
static enum error claim_from_doorman(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule,
                                     const int64_t *seats, size_t count, struct redis_value **reply)
{
    enum { TRIES = 3 };
    char version[DOORMAN_VERSION_SIZE];
    enum error error = OK;
    for (int i = 0; i < TRIES; i++) {
        struct pg_rows *rows;
        error = claim(sale, arena, pass, schedule, seats, count, reply);
        if (error != OK || redis_integer_at(*reply, 0) != HOLD_COLD)
            return error;
        error = doorman_ask(sale, arena, schedule, &rows);
        if (error == OK)
            error = doorman_load(sale, arena, schedule, redis_text_at(*reply, 1), rows, version);
        if (error != OK)
            return error;
    }
    return E_UNAVAILABLE; /* somebody changes him faster than he can be told; or Redis loses him each time */
}

/* {TAKEN, own, seat...}: own, which is not 0 when the answer may be found under the caller's Idempotency-Key. */
static int64_t read_taken(struct arena *arena, const struct redis_value *reply, struct refusal *refusal)
{
    refusal->seat_count = reply->count > 2 ? reply->count - 2 : 0;
    refusal->seats = arena_array(arena, refusal->seat_count, sizeof *refusal->seats);
    for (size_t i = 0; i < refusal->seat_count; i++)
        refusal->seats[i] = redis_integer_at(reply, i + 2);
    return redis_integer_at(reply, 1);
}

static bool next_number(const char **text, int64_t *number)
{
    *text += strcspn(*text, "0123456789");
    size_t length = strspn(*text, "0123456789");
    bool found = length > 0 && decimal_parse(*text, length, 0, INT64_MAX, number);
    *text += length;
    return found;
}

/* "[[7,1795341512352,4],[8,0,5]]", as usher_taken() makes it: the seats that are taken in truth. */
static size_t read_truth(struct arena *arena, const char *text, struct seat_truth **truths)
{
    size_t count = 0;
    struct seat_truth truth = {.taken = true};
    *truths = arena_array(arena, strlen(text) / 7 + 1, sizeof **truths);
    while (next_number(&text, &truth.seat) && next_number(&text, &truth.deadline) && next_number(&text, &truth.holder))
        (*truths)[count++] = truth;
    return count;
}

/* What is true of each of the seats; known are those that are taken. */
static struct seat_truth *truths_of(struct arena *arena, const int64_t *seats, size_t count,
                                    const struct seat_truth *known, size_t known_count)
{
    struct seat_truth *truths = arena_array(arena, count, sizeof *truths);
    for (size_t i = 0; i < count; i++) {
        truths[i].seat = seats[i];
        for (size_t k = 0; k < known_count; k++) {
            if (known[k].seat == seats[i])
                truths[i] = known[k];
        }
    }
    return truths;
}

static const char *hash_text(struct arena *arena, const int64_t *seats, size_t count)
{
    struct buf text;
    buf_init(&text, arena, count * 8 + 1);
    for (size_t i = 0; i < count; i++) {
        buf_putc(&text, ',');
        buf_put_int(&text, seats[i]);
    }
    return text.data;
}

/* A hold on its way. */
struct attempt {
    const struct pass *pass;
    int64_t schedule;
    const int64_t *seats;
    size_t count;
    struct idempotency *idempotency;
    const char *claim; /* this request's own, as the doorman has it; NULL: it found one of an earlier request of the
                          same user, perhaps one that was cut off */
    int64_t claimed;   /* the deadline in it, or in the one that was found */
    bool look;         /* whether the seats may have a hold that is over and not closed */
    struct token_life undo; /* of what the claim did to the life of the token */
};

/* The doorman has something else than PostgreSQL: free what is free, mark what is taken. taken is what usher_taken()
 * says. A claim of this request's own is the only one of the user's that is touched: others may be of requests under
 * way. Without one it is a claim of an earlier request's, which ends by `last` (ms); what ends later is another hold's.
 */
static void set_right(struct sale *sale, struct arena *arena, const struct attempt *a, const char *claim, int64_t last,
                      struct token_life life, const char *taken, struct refusal *refusal)
{
    struct seat_truth *known;
    size_t known_count = read_truth(arena, taken, &known);
    refusal->seats = arena_array(arena, known_count, sizeof *refusal->seats);
    refusal->seat_count = known_count;
    for (size_t k = 0; k < known_count; k++)
        refusal->seats[k] = known[k].seat;
    struct seat_truth *truths = truths_of(arena, a->seats, a->count, known, known_count);
    for (size_t i = 0; i < a->count; i++) {
        truths[i].instead_of = claim;
        truths[i].last = last;
    }
    if (doorman_answer(sale, arena, a->schedule, a->pass->user, life, truths, a->count) != OK)
        log_warning("the doorman keeps a claim until it lapses schedule=%" PRId64, a->schedule);
}

static enum pg_end run_hold(struct sale *sale, struct arena *arena, const struct attempt *a, bool look,
                            struct pg_rows **rows)
{
    struct pg_params params = {.arena = arena};
    bool keyed = a->idempotency->key != NULL;
    pg_int(&params, a->pass->user);
    pg_int(&params, a->schedule);
    pg_ids(&params, a->seats, a->count);
    pg_int(&params, sale->config->hold_ttl);
    pg_int(&params, sale->config->seat_limit);
    pg_text(&params, a->idempotency->key);
    pg_hex(&params, keyed ? a->idempotency->hash : NULL, REQUEST_HASH_SIZE);
    pg_bool(&params, look);
    return pg_run(sale->pg, arena, STATEMENT_HOLD, &params, keyed, rows);
}

static enum pg_end decide(struct sale *sale, struct arena *arena, const struct attempt *a, struct pg_rows **rows)
{
    idempotency_describe(a->idempotency, arena, "hold:%" PRId64 "%s", a->schedule,
                         hash_text(arena, a->seats, a->count));
    enum pg_end end = run_hold(sale, arena, a, a->look, rows);
    /* There is another hold of a seat, or one was committed while this one ran: a look tells which. */
    if (end == PG_CONFLICT)
        end = run_hold(sale, arena, a, true, rows);
    return end == PG_CONFLICT ? PG_UNAVAILABLE : end;
}

/* What becomes of the token's life when the hold was found made: what the claim did is undone, but as long as it lasts
 * the token does, too. */
static struct token_life life_of_replay(const struct attempt *a, int64_t ends, const char *taken, struct arena *arena)
{
    struct seat_truth *known;
    struct token_life life = a->undo;
    size_t count = read_truth(arena, taken, &known);
    for (size_t i = 0; i < count; i++) {
        if (known[i].holder == a->pass->user && known[i].deadline == ends && life.to < ends + TOKEN_GRACE_MS)
            life.to = ends + TOKEN_GRACE_MS;
    }
    return life;
}

/* The truth after a hold was made under a claim that is older than it. */
static const char *own_truth(struct arena *arena, const int64_t *seats, size_t count, int64_t deadline, int64_t user)
{
    struct buf text;
    buf_init(&text, arena, count * 40 + 1);
    for (size_t i = 0; i < count; i++)
        buf_printf(&text, "[%" PRId64 ",%" PRId64 ",%" PRId64 "]", seats[i], deadline, user);
    return text.data;
}

/* PostgreSQL's part: the outcome, and the doorman put right where it is not what he was told. What he has of an earlier
 * request is put right only by an outcome that tells the truth of the seats. */
static enum error hold_in_truth(struct sale *sale, struct arena *arena, const struct attempt *a,
                                struct reservation *reservation, bool *replayed, struct refusal *refusal)
{
    enum { OUTCOME, ID, TOTAL, RESERVED, EXPIRES, TICKETS, TAKEN };
    struct pg_rows *rows;
    enum pg_end end = decide(sale, arena, a, &rows);
    if (end != PG_OK) {
        /* When nobody knows whether the seats are held now, the claim stays until it is reviewed or lapses. */
        if (end == PG_UNAVAILABLE && a->claim)
            set_right(sale, arena, a, a->claim, a->claimed, a->undo, "", refusal);
        return outcome_of_run(end);
    }
    const char *taken = pg_get(rows, 0, TAKEN);
    enum error error = outcome_of_function(pg_get(rows, 0, OUTCOME), replayed);
    if (error != OK) {
        if (a->claim || error == E_SEAT_UNAVAILABLE)
            set_right(sale, arena, a, a->claim, a->claimed, a->undo, taken, refusal);
        return error;
    }
    int64_t deadline = pg_get_int(rows, 0, EXPIRES) / 1000;
    if (*replayed) {
        set_right(sale, arena, a, a->claim, deadline + SKEW_MS, life_of_replay(a, deadline, taken, arena), taken,
                  refusal);
    } else if (!a->claim || deadline - a->claimed > LATE_MS) {
        struct token_life life = {.to = deadline + TOKEN_GRACE_MS};
        taken = own_truth(arena, a->seats, a->count, deadline, a->pass->user);
        set_right(sale, arena, a, NULL, deadline + SKEW_MS, life, taken, refusal);
    }
    *reservation = (struct reservation){
        .id = pg_get_int(rows, 0, ID),
        .schedule_id = a->schedule,
        .status = "held",
        .total_price = pg_get_int(rows, 0, TOTAL),
        .reserved_at = pg_get_int(rows, 0, RESERVED),
        .expires_at = pg_get_int(rows, 0, EXPIRES),
        .tickets = pg_get(rows, 0, TICKETS),
    };
    reservation->expires_in_seconds = (reservation->expires_at - reservation->reserved_at + 999999) / 1000000;
    return OK;
}

enum error reservation_hold(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule,
                            const int64_t *seats, size_t count, struct idempotency *idempotency,
                            struct reservation *reservation, bool *replayed, struct refusal *refusal)
{
    struct attempt a = {
        .pass = pass, .schedule = schedule, .seats = seats, .count = count, .idempotency = idempotency, .look = true};
    struct redis_value *reply;
    enum error error = claim_from_doorman(sale, arena, pass, schedule, seats, count, &reply);
    if (error == OK)
        error = queue_gate_verdict(sale, reply, refusal);
    if (error != OK)
        return error;
    if (redis_integer_at(reply, 0) == HOLD_TAKEN) {
        a.claimed = read_taken(arena, reply, refusal);
        if (!a.claimed || !idempotency->key)
            return E_SEAT_UNAVAILABLE;
    } else {
        a.claimed = redis_integer_at(reply, 1);
        a.look = redis_integer_at(reply, 2) == 1;
        a.claim = arena_printf(arena, "%" PRId64 " %" PRId64, a.claimed, pass->user);
        a.undo = (struct token_life){.from = redis_integer_at(reply, 4), .to = redis_integer_at(reply, 3)};
    }
    error = hold_in_truth(sale, arena, &a, reservation, replayed, refusal);
    if (error == E_INVALID_REQUEST) {
        refusal->field = "seat_ids";
        refusal->message = "must all belong to the schedule";
    }
    return error;
}

enum error reservation_cancel(struct sale *sale, struct arena *arena, int64_t user, int64_t id)
{
    enum { OUTCOME, SCHEDULE, SEATS, TAKEN, EXPIRES };
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    bool replayed;
    pg_int(&params, user);
    pg_int(&params, id);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_CANCEL, &params, true, &rows));
    if (error == OK)
        error = outcome_of_function(pg_get(rows, 0, OUTCOME), &replayed);
    if (error != OK || pg_is_null(rows, 0, SEATS))
        return error;

    int64_t *ids, schedule = pg_get_int(rows, 0, SCHEDULE);
    size_t count = doorman_read_ids(arena, pg_get(rows, 0, SEATS), &ids);
    /* Of an earlier cancel, repeated because its answer was lost, somebody may have the seats by now. */
    struct seat_truth *known;
    size_t known_count = read_truth(arena, pg_get(rows, 0, TAKEN), &known);
    struct seat_truth *truths = truths_of(arena, ids, count, known, known_count);
    /* And the user may be holding them again. */
    for (size_t i = 0; i < count; i++)
        truths[i].last = pg_get_int(rows, 0, EXPIRES) / 1000 + SKEW_MS;
    /* It is cancelled whether or not the doorman can be told just now. */
    if (doorman_correct(sale, arena, schedule, user, truths, count) != OK)
        log_warning("the doorman keeps a cancelled hold until it lapses schedule=%" PRId64, schedule);
    return OK;
}

static void read_reservation(const struct pg_rows *rows, size_t row, struct reservation *reservation)
{
    enum { ID, SCHEDULE, STATUS, TOTAL, RESERVED, EXPIRES, COMPLETED, LEFT, TICKETS };
    *reservation = (struct reservation){
        .id = pg_get_int(rows, row, ID),
        .schedule_id = pg_get_int(rows, row, SCHEDULE),
        .status = pg_get(rows, row, STATUS),
        .total_price = pg_get_int(rows, row, TOTAL),
        .reserved_at = pg_get_int(rows, row, RESERVED),
        .expires_at = pg_get_int(rows, row, EXPIRES),
        .completed_at = pg_get_int(rows, row, COMPLETED),
        .tickets = pg_get(rows, row, TICKETS),
    };
    if (strcmp(reservation->status, "held") == 0)
        reservation->expires_in_seconds = pg_get_int(rows, row, LEFT);
}

enum error reservation_get(struct sale *sale, struct arena *arena, int64_t user, int64_t id,
                           struct reservation *reservation)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, user);
    pg_int(&params, id);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_RESERVATION, &params, true, &rows));
    if (error != OK)
        return error;
    if (pg_count(rows) == 0)
        return E_NOT_FOUND;
    read_reservation(rows, 0, reservation);
    return OK;
}

enum error reservation_list(struct sale *sale, struct arena *arena, int64_t user, int64_t limit,
                            struct reservation **items, size_t *count)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, user);
    pg_int(&params, limit);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_RESERVATIONS, &params, true, &rows));
    if (error != OK)
        return error;
    *count = pg_count(rows);
    *items = arena_array(arena, *count, sizeof **items);
    for (size_t row = 0; row < *count; row++)
        read_reservation(rows, row, &(*items)[row]);
    return OK;
}

enum error reservation_expire(struct sale *sale, struct arena *arena, int64_t batch, int64_t *ended)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, batch);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_EXPIRE, &params, true, &rows));
    *ended = error == OK ? (int64_t)pg_count(rows) : 0;
    return error;
}
