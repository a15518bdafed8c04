/* lock: an advisory lock in a transaction that stays open. */
#include "sale/lock.h"

#include "base/log.h"
#include "sale/outcome.h"
#include "store/pg.h"

#include <stdlib.h>
#include <string.h>

struct lock {
    struct pg *pg;
};

enum error lock_take(const struct config *config, struct arena *arena, enum lock_number number, struct lock **lock)
{
    struct pg_params params = {.arena = arena};
    struct pg_rows *rows;
    struct pg *pg = pg_new(config->database, config->statement_timeout, config->lock_timeout);
    *lock = NULL;
    pg_int(&params, number);
    enum error error = pg_begin(pg) ? OK : E_UNAVAILABLE;
    if (error == OK)
        error = outcome_of_run(pg_run(pg, arena, STATEMENT_TRY_LOCK, &params, false, &rows));
    if (error != OK || strcmp(pg_get(rows, 0, 0), "t") != 0) {
        pg_free(pg);
        return error;
    }
    *lock = malloc(sizeof **lock);
    if (!*lock) {
        log_error("out of memory");
        abort();
    }
    (*lock)->pg = pg;
    return OK;
}

void lock_release(struct lock *lock)
{
    if (!lock)
        return;
    pg_end_transaction(lock->pg);
    pg_free(lock->pg);
    free(lock);
}
