/* payment: usher_pay() in sql/004_money.sql decides; store/lua/settle.lua tells the line and the doorman. */
#include "sale/payment.h"

#include "sale/doorman.h"
#include "sale/keys.h"
#include "sale/outcome.h"
#include "sale/queue.h"
#include "store/pg.h"
#include "store/redis.h"

/* Columns of usher_pay(). */
enum { OUTCOME, ID, PRICE, BALANCE, PAID, SCHEDULE, SEATS };

/* Told after every answer that says the reservation is paid, so that one that was cut off before is made good. */
static void settle(struct sale *sale, struct arena *arena, const struct pass *pass, const struct pg_rows *rows)
{
    struct redis_call call;
    int64_t *ids;
    size_t count = doorman_read_ids(arena, pg_get(rows, 0, SEATS), &ids);
    redis_script(&call, arena, SCRIPT_SETTLE);
    redis_key(&call, KEY_TOKENS);
    redis_key(&call, KEY_ACTIVE);
    redis_key(&call, KEY_EVENTS);
    redis_key(&call, key_seats(arena, pg_get_int(rows, 0, SCHEDULE)));
    redis_int(&call, pass->user);
    redis_int(&call, pass->ticket);
    redis_int(&call, pg_get_int(rows, 0, PAID) / 1000);
    for (size_t i = 0; i < count; i++)
        redis_int(&call, ids[i]);
    redis_post(sale->redis, &call);
}

enum error payment_pay(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t reservation,
                       struct idempotency *idempotency, struct payment *payment, struct refusal *refusal)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;

    enum error gate = queue_gate(sale, arena, pass, false, refusal);
    if (gate != OK && gate != E_QUEUE_TOKEN_INVALID && gate != E_NOT_ADMITTED)
        return gate;

    idempotency_describe(idempotency, arena, "pay:%" PRId64, reservation);
    pg_int(&params, pass->user);
    pg_int(&params, reservation);
    pg_bool(&params, gate == OK);
    pg_text(&params, idempotency->key);
    pg_hex(&params, idempotency->key ? idempotency->hash : NULL, REQUEST_HASH_SIZE);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_PAY, &params, true, &rows));
    if (error != OK)
        return error;
    error = outcome_of_function(pg_get(rows, 0, OUTCOME), &payment->replayed);
    if (gate != OK && error == E_QUEUE_TOKEN_INVALID)
        return gate;
    refusal->balance = payment->balance = pg_get_int(rows, 0, BALANCE);
    refusal->price = payment->price = pg_get_int(rows, 0, PRICE);
    if (!pg_is_null(rows, 0, SEATS))
        settle(sale, arena, pass, rows);
    if (error != OK)
        return error;

    payment->id = pg_get_int(rows, 0, ID);
    payment->reservation_id = reservation;
    payment->paid_at = pg_get_int(rows, 0, PAID);
    return OK;
}

enum error payment_get(struct sale *sale, struct arena *arena, int64_t user, int64_t id, struct payment *payment)
{
    enum { P_ID, P_RESERVATION, P_PRICE, P_BALANCE, P_PAID };
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, user);
    pg_int(&params, id);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_PAYMENT, &params, true, &rows));
    if (error != OK)
        return error;
    if (pg_count(rows) == 0)
        return E_NOT_FOUND;
    *payment = (struct payment){
        .id = pg_get_int(rows, 0, P_ID),
        .reservation_id = pg_get_int(rows, 0, P_RESERVATION),
        .price = pg_get_int(rows, 0, P_PRICE),
        .balance = pg_get_int(rows, 0, P_BALANCE),
        .paid_at = pg_get_int(rows, 0, P_PAID),
    };
    return OK;
}
