-- Corrects the doorman after PostgreSQL has decided. KEYS: 1 the schedule's seats.
-- ARGV: 2 user whose claims may be changed, 3... groups of three: seat, the value that may be changed ("" for any claim of the
-- user's, one that has lapsed, or none), truth ("deadline user", deadline 0 when sold; "" when free).
-- Another claim stays: it belongs to a later request. What is sold stays so: a retry may come with what was true before
-- the payment. Returns how many were changed.
local at, user, changed = now(), ARGV[2], 0
for i = 3, #ARGV, 3 do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  local deadline, holder = string.match(value or '', '^(%d+) (%d+)$')
  local ours
  if ARGV[i + 1] ~= '' then
    ours = value == ARGV[i + 1]
  else
    ours = not value or (deadline ~= '0' and (holder == user or tonumber(deadline) <= at))
  end
  if ours and ARGV[i + 2] == '' then
    changed = changed + redis.call('HDEL', KEYS[1], ARGV[i])
  elseif ours and ARGV[i + 2] ~= value then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    changed = changed + 1
  end
end
if changed > 0 then redis.call('HINCRBY', KEYS[1], 'n', 1) end
return changed
