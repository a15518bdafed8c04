-- Ends admitted tokens whose deadline has passed. KEYS: 1 tokens, 2 active, 3 events. ARGV: 2 at most so many.
-- Returns how many.
local at = now()
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', int(at), 'LIMIT', 0, ARGV[2])
for _, user in ipairs(over) do
  local text = redis.call('HGET', KEYS[1], user)
  redis.call('ZREM', KEYS[2], user)
  if text then
    redis.call('HDEL', KEYS[1], user)
    redis.call('XADD', KEYS[3], '*', 'e', 'expired', 'k', (record(text)), 'u', user, 'at', int(at))
  end
end
return #over
