-- floor: is the user active, is the seat free, then it is claimed. KEYS: 1 active, 2 the schedule's seats.
-- ARGV: 1 user, 2 seat. Returns 1 when claimed, 0 when taken, -1 when not admitted.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return -1 end
return redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[1])
