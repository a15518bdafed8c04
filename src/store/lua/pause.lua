-- Pauses (ARGV[2] '1') or resumes ('0') the line: no new places, nobody admitted. KEYS: 1 admission. Returns what it was.
local before = redis.call('HGET', KEYS[1], 'paused') == '1' and 1 or 0
redis.call('HSET', KEYS[1], 'paused', ARGV[2])
return before
