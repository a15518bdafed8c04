-- Loads the doorman with what PostgreSQL says. KEYS: 1 the schedule's seats, 2 admission.
-- ARGV: 2 what changes() said to the reader before it asked PostgreSQL, 3... pairs: seat, "deadline user".
-- Returns the version, or "" when something changed meanwhile (then nothing is loaded).
-- The field `wide` says nothing: a hash with a value of more than 64 bytes (hash-max-listpack-value) is a table, in which a
-- field is found at once, while a small one is searched from its beginning.
local WIDE = string.rep('-', 65)
local at = now()
if changes(KEYS[1], KEYS[2]) ~= ARGV[2] then return '' end
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], 'v', int(at), 'wide', WIDE)
return int(at) .. '.' .. redis.call('HINCRBY', KEYS[1], 'n', 1)
