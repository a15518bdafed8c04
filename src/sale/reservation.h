/* reservation: holding seats, giving them back, and looking at what one has. */
#ifndef USHER_SALE_RESERVATION_H
#define USHER_SALE_RESERVATION_H

#include "sale/sale.h"

/* Times in microseconds since 1970. */
struct reservation {
    int64_t id, schedule_id;
    const char *status; /* "held" | "paid" | "expired" | "cancelled" */
    int64_t total_price;
    int64_t reserved_at, expires_at, completed_at; /* 0: not completed */
    int64_t expires_in_seconds;
    const char *tickets; /* JSON: [{"id","seat_id","location","price"}] */
};

/* Holds seats (distinct, ascending) for pass->user: gate and doorman in one round trip, then one statement. A seat that
 * the doorman knows as taken is refused without asking PostgreSQL. *replayed: the answer of an earlier request with
 * this key. The gate's errors; E_NOT_FOUND, E_SALES_CLOSED, E_SEAT_LIMIT, E_SEAT_UNAVAILABLE with refusal->seats,
 * E_INVALID_REQUEST with refusal->field, E_IDEMPOTENCY_KEY_*. */
enum error reservation_hold(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t schedule,
                            const int64_t *seats, size_t count, struct idempotency *idempotency,
                            struct reservation *reservation, bool *replayed, struct refusal *refusal) MUST_CHECK;

/* Gives a held one back; its seats are free when this returns. E_NOT_FOUND, E_ALREADY_PAID. */
enum error reservation_cancel(struct sale *sale, struct arena *arena, int64_t user, int64_t id) MUST_CHECK;

enum error reservation_get(struct sale *sale, struct arena *arena, int64_t user, int64_t id,
                           struct reservation *reservation) MUST_CHECK;
/* The newest first, at most limit. */
enum error reservation_list(struct sale *sale, struct arena *arena, int64_t user, int64_t limit,
                            struct reservation **items, size_t *count) MUST_CHECK;

/* For the scheduler: ends up to batch holds past their deadline. */
enum error reservation_expire(struct sale *sale, struct arena *arena, int64_t batch, int64_t *ended) MUST_CHECK;

#endif
