/* payment: usher_pay() in sql/004_money.sql decides; store/lua/settle.lua tells the line and the doorman. */
#include "sale/payment.h"

#include "sale/doorman.h"
#include "sale/keys.h"
#include "sale/outcome.h"
#include "sale/queue.h"
#include "store/pg.h"
#include "store/redis.h"

static void settle(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule, const char *seats)
{
    struct redis_call call;
    int64_t *ids;
    size_t count = doorman_read_ids(arena, seats, &ids);
    redis_script(&call, arena, SCRIPT_SETTLE);
    redis_key(&call, KEY_TOKENS);
    redis_key(&call, KEY_ACTIVE);
    redis_key(&call, KEY_EVENTS);
    redis_key(&call, key_seats(arena, schedule));
    redis_int(&call, pass->user);
    redis_int(&call, pass->ticket);
    for (size_t i = 0; i < count; i++)
        redis_int(&call, ids[i]);
    redis_post(sale->redis, &call);
}

enum error payment_pay(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t reservation,
                       struct idempotency *idempotency, struct payment *payment, struct refusal *refusal)
{
    enum { OUTCOME, ID, PRICE, BALANCE, PAID, SCHEDULE, SEATS };
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
    if (error != OK)
        return error;

    payment->id = pg_get_int(rows, 0, ID);
    payment->reservation_id = reservation;
    payment->paid_at = pg_get_int(rows, 0, PAID);
    if (!payment->replayed)
        settle(sale, arena, pass, pg_get_int(rows, 0, SCHEDULE), pg_get(rows, 0, SEATS));
    return OK;
}

enum error payment_get(struct sale *sale, struct arena *arena, int64_t user, int64_t id, struct payment *payment)
{
    enum { ID, RESERVATION, PRICE, BALANCE, PAID };
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
        .id = pg_get_int(rows, 0, ID),
        .reservation_id = pg_get_int(rows, 0, RESERVATION),
        .price = pg_get_int(rows, 0, PRICE),
        .balance = pg_get_int(rows, 0, BALANCE),
        .paid_at = pg_get_int(rows, 0, PAID),
    };
    return OK;
}
