-- Ends admitted tokens whose deadline has passed. KEYS: 1 tokens, 2 active, 3 events, 4 admission (counts no-shows).
-- ARGV: 2 at most so many. Returns how many.
local at = now()
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', int(at), 'LIMIT', 0, ARGV[2])
for _, user in ipairs(over) do
  local text = redis.call('HGET', KEYS[1], user)
  redis.call('ZREM', KEYS[2], user)
  if text then
    local ticket, _, _, used = record(text)
    if used == '' then redis.call('HINCRBY', KEYS[4], 'no_shows', 1) end
    redis.call('HDEL', KEYS[1], user)
    redis.call('XADD', KEYS[3], '*', 'e', 'expired', 'k', ticket, 'u', user, 'at', int(at))
  end
end
return #over
