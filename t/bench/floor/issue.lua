-- floor: the commands of join.lua for somebody new, and nothing else. KEYS: 1 tokens, 2 waiting, 3 admission, 4 events, 5 seq.
-- ARGV: 1 user. Returns {ticket, waiting}.
local t = redis.call('TIME')
local at = t[1] .. string.format('%03d', math.floor(t[2] / 1000))
redis.call('HMGET', KEYS[3], 'paused', 'batch')
redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HEXISTS', KEYS[3], 'run')
local ticket = redis.call('INCR', KEYS[5])
redis.call('HSET', KEYS[1], ARGV[1], ticket .. ' ' .. at)
redis.call('ZADD', KEYS[2], ticket, ARGV[1])
redis.call('XADD', KEYS[4], '*', 'e', 'issued', 'k', ticket, 'u', ARGV[1], 'at', at)
return {ticket, redis.call('ZCARD', KEYS[2])}
