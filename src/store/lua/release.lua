-- Corrects the doorman after PostgreSQL has decided. KEYS: 1 the schedule's seats.
-- ARGV: 2 user whose claims may be changed, 3... pairs: seat, truth ("deadline user", deadline 0 when sold; "" when free).
-- A claim that is not the user's and not lapsed stays: it belongs to a later request. Returns how many were changed.
local at, user, changed = now(), ARGV[2], 0
for i = 3, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  local deadline, holder = string.match(value or '', '^(%d+) (%d+)$')
  if not value or holder == user or (deadline ~= '0' and tonumber(deadline) <= at) then
    if ARGV[i + 1] == '' then
      changed = changed + redis.call('HDEL', KEYS[1], ARGV[i])
    elseif ARGV[i + 1] ~= value then
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
      changed = changed + 1
    end
  end
end
if changed > 0 then redis.call('HINCRBY', KEYS[1], 'n', 1) end
return changed
