/* outcome: the table from the words of sql/ to errors. */
#include "sale/outcome.h"

#include "base/log.h"

#include <string.h>

enum error outcome_of_run(enum pg_end end)
{
    switch (end) {
    case PG_OK:
        return OK;
    case PG_UNAVAILABLE:
    case PG_UNKNOWN:
        return E_UNAVAILABLE;
    default:
        return E_INTERNAL;
    }
}

enum error outcome_of_function(const char *outcome, bool *replayed)
{
    static const struct {
        const char *outcome;
        enum error error;
    } table[] = {
        {"created", OK},
        {"replayed", OK},
        {"cancelled", OK},
        {"over", OK},
        {"already-paid", E_ALREADY_PAID},
        {"balance-limit", E_BALANCE_LIMIT},
        {"expired", E_RESERVATION_EXPIRED},
        {"foreign-seat", E_INVALID_REQUEST},
        {"insufficient", E_INSUFFICIENT_BALANCE},
        {"key-in-use", E_IDEMPOTENCY_KEY_IN_USE},
        {"key-reused", E_IDEMPOTENCY_KEY_REUSED},
        {"not-admitted", E_QUEUE_TOKEN_INVALID},
        {"not-found", E_NOT_FOUND},
        {"reservation-cancelled", E_RESERVATION_CANCELLED},
        {"sales-closed", E_SALES_CLOSED},
        {"seat-limit", E_SEAT_LIMIT},
        {"seat-unavailable", E_SEAT_UNAVAILABLE},
    };
    *replayed = strcmp(outcome, "replayed") == 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].outcome, outcome) == 0)
            return table[i].error;
    }
    log_error("a function in PostgreSQL gave an unknown outcome=%s", LOG_QUOTED(outcome));
    return E_INTERNAL;
}
