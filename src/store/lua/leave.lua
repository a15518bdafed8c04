-- Gives a place up. KEYS: 1 tokens, 2 waiting, 3 active, 4 admission, 5 events. ARGV: 2 user, 3 ticket.
-- Returns {1} when it was there, {0} when not, {LOST}.
local user = ARGV[2]
local text = redis.call('HGET', KEYS[1], user)
if not text then return {lost() and LOST or 0} end
if record(text) ~= ARGV[3] then return {0} end
redis.call('HDEL', KEYS[1], user)
redis.call('ZREM', KEYS[2], user)
redis.call('ZREM', KEYS[3], user)
redis.call('XADD', KEYS[5], '*', 'e', 'left', 'k', ARGV[3], 'u', user, 'at', int(now()))
return {1}
