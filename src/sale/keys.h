/* keys: the names of everything in Redis, in one place. All share one hash tag: the gate and the doorman of the seats
 * are asked in one script, so they must live in one slot of a Redis Cluster. */
#ifndef USHER_SALE_KEYS_H
#define USHER_SALE_KEYS_H

#include "base/arena.h"

#include <inttypes.h>
#include <stdint.h>

#define KEY_TOKENS  "q:{main}:tokens"  /* HASH user -> "ticket issued [activated [used]]" */
#define KEY_WAITING "q:{main}:waiting" /* ZSET ticket -> user */
#define KEY_ACTIVE  "q:{main}:active"  /* ZSET deadline in ms -> user */
/* HASH serving, credit, tick, batch, most, allowed, paused; run: see restore.h, restoring: who restores the line,
 * restored: who did last; adaptive: share, cap, judged, shows, no_shows */
#define KEY_ADMISSION "q:{main}:admission"
#define KEY_ADMITTED  "q:{main}:admitted" /* ZSET time in ms -> "time-serving count" of the last period */
#define KEY_PULSE     "q:{main}:pulse"    /* HASH served, slow, holds, refused, paid since last judged */
#define KEY_EVENTS    "q:{main}:events"   /* STREAM e, k (ticket), u (user), at (ms) */
#define KEY_SEQ       "q:{main}:seq"      /* the last ticket number */

#define KEY_PAGES_GENERATION "c:{main}:generation" /* counts evictions */

#define KEY_SEATS_PATTERN "s:{main}:*:seats"

/* HASH seat -> "deadline user" (deadline in ms, 0 when sold); v when loaded from PostgreSQL, n the count of changes
 * and c0... the last of them (prelude.lua), r the v for which he was completed. */
static inline const char *key_seats(struct arena *arena, int64_t schedule)
{
    return arena_printf(arena, "s:{main}:%" PRId64 ":seats", schedule);
}

#endif
