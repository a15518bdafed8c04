-- Gives the user a place in the line, or tells the one that the user has.
-- KEYS: 1 tokens, 2 waiting, 3 active, 4 admission, 5 events, 6 seq. ARGV: 2 user.
-- Returns {created, ticket, issued, activated or 0, deadline or 0, position, paused, batch in force or 0}; {-1} when the line is
-- paused; {LOST}.
local at, user = now(), ARGV[2]
local line = redis.call('HMGET', KEYS[4], 'paused', 'batch')
local paused, batch = line[1] == '1', tonumber(line[2] or 0)
local text
text = redis.call('HGET', KEYS[1], user) -- guard: one-token
if text then
  local ticket, issued, activated, used = record(text)
  if activated == '' then
    return {0, tonumber(ticket), tonumber(issued), 0, 0, redis.call('ZRANK', KEYS[2], user) + 1, paused and 1 or 0, batch}
  end
  local deadline = tonumber(redis.call('ZSCORE', KEYS[3], user) or 0)
  if deadline > at then
    return {0, tonumber(ticket), tonumber(issued), tonumber(activated), deadline, 0, paused and 1 or 0, batch}
  end
  if used == '' then redis.call('HINCRBY', KEYS[4], 'no_shows', 1) end
  redis.call('ZREM', KEYS[3], user)
  redis.call('HDEL', KEYS[1], user)
  redis.call('XADD', KEYS[5], '*', 'e', 'expired', 'k', ticket, 'u', user, 'at', int(at))
end
if lost() then return {LOST} end
if paused then return {-1} end
local ticket = redis.call('INCR', KEYS[6])
redis.call('HSET', KEYS[1], user, ticket .. ' ' .. int(at))
redis.call('ZADD', KEYS[2], ticket, user)
redis.call('XADD', KEYS[5], '*', 'e', 'issued', 'k', ticket, 'u', user, 'at', int(at))
return {1, ticket, at, 0, 0, redis.call('ZCARD', KEYS[2]), 0, batch}
