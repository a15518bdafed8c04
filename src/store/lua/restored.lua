-- The line is complete again. KEYS: 1 admission, 2 seq. ARGV: 2 this restore's name, 3 this run of Redis, 4 the ticket number
-- after which it goes on, 5 the highest admitted one, 6 whether the operator has paused the line. Numbers only go up. Returns
-- the last ticket number; -1 when this is not the restore that goes on, or what it has put back was lost again.
if redis.call('HGET', KEYS[1], 'restoring') ~= ARGV[2] then return -1 end
redis.call('HDEL', KEYS[1], 'restoring')
redis.call('HSET', KEYS[1], 'run', ARGV[3], 'restored', ARGV[2], 'paused', ARGV[6])
if tonumber(redis.call('HGET', KEYS[1], 'serving') or 0) < tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[1], 'serving', ARGV[5])
end
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[4]) then
  redis.call('SET', KEYS[2], ARGV[4])
end
return tonumber(redis.call('GET', KEYS[2]) or 0)
