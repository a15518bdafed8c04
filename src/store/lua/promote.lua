-- Admits the front of the line, as far as the budget goes. The budget is here and taken here, so it does not matter how
-- many schedulers ask or how often: never more than `batch` in any `period`, paced at batch/period with at most a tenth
-- of a batch at once, and only while fewer than `active_max` are active.
-- KEYS: 1 tokens, 2 waiting, 3 active, 4 admission, 5 events, 6 admitted (ZSET time -> "time count").
-- ARGV: 2 batch, 3 period in ms, 4 active_max, 5 claim window in ms. Returns {admitted, waiting, active, serving}; {-1} when the
-- line is lost and must be restored first.
if lost() then return {-1} end
local at = now()
local batch, period, active_max, window = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local admission = redis.call('HMGET', KEYS[4], 'paused', 'serving', 'credit', 'tick')
local serving = tonumber(admission[2] or 0)

local recent = 0
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', int(at - period))
for _, entry in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
  recent = recent + string.match(entry, ' (%d+)$')
end

local burst = math.max(1, batch / 10)
local credit = burst
if admission[4] then
  credit = math.min(burst, tonumber(admission[3]) + math.max(0, at - admission[4]) * batch / period)
end

local active = redis.call('ZCOUNT', KEYS[3], '(' .. int(at), '+inf')
local room = active_max - active
room = math.min(room, batch - recent, math.floor(credit)) -- guard: admission-budget
if admission[1] == '1' then room = 0 end

local admitted = 0
if room > 0 then
  local front = redis.call('ZPOPMIN', KEYS[2], int(room))
  for i = 1, #front, 2 do
    local user, ticket = front[i], front[i + 1]
    redis.call('HSET', KEYS[1], user, redis.call('HGET', KEYS[1], user) .. ' ' .. int(at))
    redis.call('ZADD', KEYS[3], int(at + window), user)
    redis.call('XADD', KEYS[5], '*', 'e', 'activated', 'k', ticket, 'u', user, 'at', int(at))
    serving = math.max(serving, tonumber(ticket))
    admitted = admitted + 1
  end
end
if admitted > 0 then
  redis.call('ZADD', KEYS[6], int(at), int(at) .. '-' .. int(serving) .. ' ' .. admitted)
end
redis.call('HSET', KEYS[4], 'serving', int(serving), 'credit', tostring(credit - admitted), 'tick', int(at))
return {admitted, redis.call('ZCARD', KEYS[2]), active + admitted, serving}
