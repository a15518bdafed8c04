/* redis_value: Redis' answers, built by hiredis straight into an arena. For redis*.c; what others may know is in
 * redis.h. */
#ifndef USHER_STORE_REDIS_VALUE_H
#define USHER_STORE_REDIS_VALUE_H

#include "store/redis.h"

struct redisReplyObjectFunctions;

/* For a reader of hiredis. Its privdata is the address of a struct arena *: where the answer of this moment goes. */
extern struct redisReplyObjectFunctions redis_value_functions;

/* "LOADING", "READONLY", "OOM" and the like: Redis is there but cannot serve, and has done nothing. */
bool redis_value_is_away(const struct redis_value *value);
/* It does not have the script: a restart, SCRIPT FLUSH. */
bool redis_value_is_noscript(const struct redis_value *value);

#endif
