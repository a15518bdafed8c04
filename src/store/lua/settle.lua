-- After a payment: the seats are sold, the queue token with which it was made is used up. May be told again at any time
-- later: a token that was issued after the payment is another one and stays.
-- KEYS: 1 tokens, 2 active, 3 events, 4 the schedule's seats. ARGV: 2 user, 3 ticket, 4 when it was paid in ms, 5... seats.
-- Returns 1 when the token lived.
local user, lived = ARGV[2], 0
local text = redis.call('HGET', KEYS[1], user)
local ticket, issued = record(text or '0 0')
if ticket == ARGV[3] and tonumber(issued) <= tonumber(ARGV[4]) then
  redis.call('HDEL', KEYS[1], user)
  redis.call('ZREM', KEYS[2], user)
  redis.call('XADD', KEYS[3], '*', 'e', 'used', 'k', ticket, 'u', user, 'at', int(now()))
  lived = 1
end
local seats = {unpack(ARGV, 5)}
local hall = redis.call('HMGET', KEYS[4], 'n', unpack(seats))
local news, value = {}, '0 ' .. user
for i, seat in ipairs(seats) do
  if hall[i + 1] ~= value then news[#news + 1] = seat end
end
if #news > 0 then
  local sold = counted(hall[1], news)
  for _, seat in ipairs(news) do
    sold[#sold + 1], sold[#sold + 2] = seat, value
  end
  redis.call('HSET', KEYS[4], unpack(sold))
end
return lived
