/* wallet: one statement each; the charge is usher_charge() in sql/004_money.sql. */
#include "sale/wallet.h"

#include "sale/outcome.h"
#include "store/pg.h"

enum error wallet_balance(struct sale *sale, struct arena *arena, int64_t user, int64_t *balance)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, user);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_BALANCE, &params, true, &rows));
    if (error == OK)
        *balance = pg_count(rows) ? pg_get_int(rows, 0, 0) : 0;
    return error;
}

enum error wallet_entries(struct sale *sale, struct arena *arena, int64_t user, int64_t below, int64_t limit,
                          struct entry **items, size_t *count, bool *more)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, user);
    pg_int(&params, below);
    pg_int(&params, limit + 1);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_ENTRIES, &params, true, &rows));
    if (error != OK)
        return error;
    *more = pg_count(rows) > (size_t)limit;
    *count = *more ? (size_t)limit : pg_count(rows);
    *items = arena_array(arena, *count, sizeof **items);
    for (size_t row = 0; row < *count; row++) {
        (*items)[row] = (struct entry){
            .id = pg_get_int(rows, row, 0),
            .kind = pg_get(rows, row, 1),
            .amount = pg_get_int(rows, row, 2),
            .balance = pg_get_int(rows, row, 3),
            .reference = pg_get(rows, row, 4),
            .created_at = pg_get_int(rows, row, 5),
        };
    }
    return OK;
}

enum error wallet_charge(struct sale *sale, struct arena *arena, int64_t user, int64_t amount,
                         struct idempotency *idempotency, struct charge *charge)
{
    enum { OUTCOME, ID, AMOUNT, BALANCE, CHARGED };
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    idempotency_describe(idempotency, arena, "charge:%lld", (long long)amount);
    pg_int(&params, user);
    pg_int(&params, amount);
    pg_int(&params, sale->config->balance_max);
    pg_text(&params, idempotency->key);
    pg_hex(&params, idempotency->hash, REQUEST_HASH_SIZE);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_CHARGE, &params, true, &rows));
    if (error == OK)
        error = outcome_of_function(pg_get(rows, 0, OUTCOME), &charge->replayed);
    if (error != OK)
        return error;
    charge->id = pg_get_int(rows, 0, ID);
    charge->amount = pg_get_int(rows, 0, AMOUNT);
    charge->balance = pg_get_int(rows, 0, BALANCE);
    charge->charged_at = pg_get_int(rows, 0, CHARGED);
    return OK;
}

enum error wallet_forget_keys(struct sale *sale, struct arena *arena, int64_t batch, int64_t *forgotten)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    pg_int(&params, sale->config->idempotency_ttl);
    pg_int(&params, batch);
    enum error error = outcome_of_run(pg_run(sale->pg, arena, STATEMENT_FORGET_KEYS, &params, true, &rows));
    *forgotten = error == OK ? pg_get_int(rows, 0, 0) : 0;
    return error;
}
