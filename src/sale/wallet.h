/* wallet: a user's balance, the entries behind it, and charging it. */
#ifndef USHER_SALE_WALLET_H
#define USHER_SALE_WALLET_H

#include "sale/sale.h"

enum error wallet_balance(struct sale *sale, struct arena *arena, int64_t user, int64_t *balance) MUST_CHECK;

struct entry {
    int64_t id;
    const char *kind; /* "charge" | "payment" */
    int64_t amount;   /* signed */
    int64_t balance;  /* after it */
    const char *reference;
    int64_t created_at; /* us */
};

/* The newest `limit` entries with an id below `below`; more tells whether older ones follow. */
enum error wallet_entries(struct sale *sale, struct arena *arena, int64_t user, int64_t below, int64_t limit,
                          struct entry **items, size_t *count, bool *more) MUST_CHECK;

struct charge {
    bool replayed;
    int64_t id, amount, balance;
    int64_t charged_at; /* us */
};

/* Adds amount to the balance; idempotency->key is required. E_BALANCE_LIMIT, E_IDEMPOTENCY_KEY_*. */
enum error wallet_charge(struct sale *sale, struct arena *arena, int64_t user, int64_t amount,
                         struct idempotency *idempotency, struct charge *charge) MUST_CHECK;

/* For the scheduler: forgets up to batch idempotency keys older than idempotency_ttl. */
enum error wallet_forget_keys(struct sale *sale, struct arena *arena, int64_t batch, int64_t *forgotten) MUST_CHECK;

#endif
