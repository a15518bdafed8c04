/* redis_call: a call being put together. For redis*.c; what others may know is in redis.h. */
#ifndef USHER_STORE_REDIS_CALL_H
#define USHER_STORE_REDIS_CALL_H

#include "store/redis.h"

/* Its keys are complete: a script gets their number and, as its first argument, room for the clock's offset. Asking
 * again does nothing. */
void redis_call_complete(struct redis_call *call);
/* It is sent now: a script gets the clock's offset of this moment (0 but in tests). */
void redis_call_date(struct redis_call *call);
/* A script's call by its whole text, or again by its hash. */
void redis_call_send_text(struct redis_call *call, bool text);
/* The script's name, or the command's. */
const char *redis_call_name(const struct redis_call *call);
/* Words and all move into another arena, where the call lives on beyond its request. */
struct redis_call redis_call_copy(const struct redis_call *call, struct arena *arena);

#endif
