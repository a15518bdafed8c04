-- Forgets the doormen of some schedules: they are loaded again when somebody asks. KEYS: 1 admission, 2... seats of schedules.
-- ARGV: 2 the restore's name. Returns how many; -1 when this is not the restore that goes on.
if redis.call('HGET', KEYS[1], 'restoring') ~= ARGV[2] then return -1 end
return redis.call('UNLINK', unpack(KEYS, 2))
