/* restore: the line comes back by itself when Redis has lost it.
 *
 * Redis may lose everything (FLUSHALL, a lost disk) or the last second (a restart from an append-only file). The
 * admission hash holds the name of Redis' run for which the line was last complete. Whoever meets a line without that
 * mark, or connects to a run that is not the marked one, restores it from the history in PostgreSQL, in ticket order
 * and under one lock; until then nobody is denied and no place is given out. A restore has a name, which stands in the
 * hash while it lasts: should Redis lose everything once more, the name is gone too, and the restore begins again. Who
 * joined after the history was last written (it lags a second) must ask for a new place. */
#ifndef USHER_SALE_RESTORE_H
#define USHER_SALE_RESTORE_H

#include "sale/sale.h"

struct redis;
struct redis_call;
struct redis_value;

/* Makes the line complete. OK when it is; E_UNAVAILABLE while somebody else is at it or a server is away. */
enum error restore_line(struct sale *sale, struct arena *arena) MUST_CHECK;

/* Right after connecting: true when this run of Redis is the marked one, or could be made so. */
bool restore_on_connect(struct redis *redis, void *sale);

/* Runs a script of the line whose first answer may be LOST (an array that begins with 9); restores the line and asks
 * again. */
enum error restore_and_run(struct sale *sale, struct arena *arena, struct redis_call *calls, size_t count,
                           struct redis_value **values) MUST_CHECK;

#endif
