-- Loads the doorman with what PostgreSQL says. KEYS: 1 the schedule's seats.
-- ARGV: 2 the count of changes that the reader saw before it asked PostgreSQL, 3... pairs: seat, "deadline user".
-- Returns the version, or "" when something changed meanwhile (then nothing is loaded).
local at = now()
if (redis.call('HGET', KEYS[1], 'n') or '0') ~= ARGV[2] then return '' end
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], 'v', int(at))
return int(at) .. '.' .. redis.call('HINCRBY', KEYS[1], 'n', 1)
