-- Pauses (ARGV[2] '1') or resumes ('0') the line: no new places, nobody admitted. KEYS: 4 admission. Returns {what it was} or
-- {LOST}: a line that is restored later would have it from PostgreSQL's last word, not from here.
if lost() then return {LOST} end
local before = redis.call('HGET', KEYS[4], 'paused') == '1' and 1 or 0
redis.call('HSET', KEYS[4], 'paused', ARGV[2])
return {before}
