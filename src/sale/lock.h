/* lock: one at a time, on all hosts: work that must not be done by two processes at once. */
#ifndef USHER_SALE_LOCK_H
#define USHER_SALE_LOCK_H

#include "sale/sale.h"

/* The numbers of the advisory locks, one for each kind of work. */
enum lock_number { LOCK_PROMOTE = 1, LOCK_EXPIRE = 2, LOCK_RESTORE = 3 };

struct lock;

/* OK with *lock NULL when somebody else has it; E_UNAVAILABLE when PostgreSQL is away. The lock lives in a transaction
 * of a connection of its own, which is safe behind PgBouncer, and ends with the process at the latest. */
enum error lock_take(const struct config *config, struct arena *arena, enum lock_number number,
                     struct lock **lock) MUST_CHECK;
/* NULL is fine. */
void lock_release(struct lock *lock);

#endif
