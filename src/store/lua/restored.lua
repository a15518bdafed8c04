-- The line is complete again. KEYS: 1 admission, 2 seq. ARGV: 2 this run of Redis, 3 the highest ticket of the history,
-- 4 the highest admitted one, 5 whether the operator has paused it. Numbers only go up. Returns the last ticket number.
redis.call('HSET', KEYS[1], 'run', ARGV[2], 'paused', ARGV[5])
if tonumber(redis.call('HGET', KEYS[1], 'serving') or 0) < tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], 'serving', ARGV[4])
end
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[2], ARGV[3])
end
return tonumber(redis.call('GET', KEYS[2]) or 0)
