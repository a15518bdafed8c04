-- Loads the doorman with what PostgreSQL says. KEYS: 1 the schedule's seats, 2 admission.
-- ARGV: 2 what changes() said to the reader before it asked PostgreSQL, 3... pairs: seat, "deadline user".
-- Returns the version, or "" when something changed meanwhile (then nothing is loaded).
local at = now()
if changes(KEYS[1], KEYS[2]) ~= ARGV[2] then return '' end
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], 'v', int(at))
return int(at) .. '.' .. redis.call('HINCRBY', KEYS[1], 'n', 1)
