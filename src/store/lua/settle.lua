-- After a payment: the seats are sold, the queue token is used up.
-- KEYS: 1 tokens, 2 active, 3 events, 4 the schedule's seats. ARGV: 2 user, 3 ticket, 4... seats. Returns 1 when the token lived.
local user, lived = ARGV[2], 0
local text = redis.call('HGET', KEYS[1], user)
if text and record(text) == ARGV[3] then
  redis.call('HDEL', KEYS[1], user)
  redis.call('ZREM', KEYS[2], user)
  redis.call('XADD', KEYS[3], '*', 'e', 'used', 'k', ARGV[3], 'u', user, 'at', int(now()))
  lived = 1
end
for i = 4, #ARGV do
  redis.call('HSET', KEYS[4], ARGV[i], '0 ' .. user)
end
if #ARGV > 3 then redis.call('HINCRBY', KEYS[4], 'n', 1) end
return lived
