/* payment: paying a held reservation from the wallet. */
#ifndef USHER_SALE_PAYMENT_H
#define USHER_SALE_PAYMENT_H

#include "sale/sale.h"

struct payment {
    bool replayed;
    int64_t id, reservation_id, price, balance;
    int64_t paid_at; /* us */
};

/* Gate, then one statement that takes the money or does nothing, then the token is used up and the seats are sold at
 * the doorman. A token that is no longer good pays nothing, but its owner still learns of a payment that was made: it
 * is replayed under its key, or E_ALREADY_PAID. Otherwise the gate's errors; E_NOT_FOUND, E_RESERVATION_EXPIRED,
 * E_RESERVATION_CANCELLED, E_INSUFFICIENT_BALANCE with refusal->balance and price, E_IDEMPOTENCY_KEY_*. */
enum error payment_pay(struct sale *sale, struct arena *arena, const struct pass *pass, int64_t reservation,
                       struct idempotency *idempotency, struct payment *payment, struct refusal *refusal) MUST_CHECK;

/* E_NOT_FOUND. */
enum error payment_get(struct sale *sale, struct arena *arena, int64_t user, int64_t id,
                       struct payment *payment) MUST_CHECK;

#endif
