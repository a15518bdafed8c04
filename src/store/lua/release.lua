-- Corrects the doorman after PostgreSQL has decided. KEYS: 1 the schedule's seats, 2 active.
-- ARGV: 2 user whose claims may be changed, 3 and 4 what becomes of the life of the user's token (both 0: nothing; 0 and a
-- deadline: it lasts until then at least; two deadlines: where it is the first it becomes the second, as before a claim that
-- came to nothing), 5... groups of three: seat, what may be changed ("deadline user": that value; "deadline": a claim of the
-- user's that ends no later, one that has lapsed, or none), truth ("deadline user", deadline 0 when sold; "" when free).
-- Another claim stays: it belongs to a later request. What is sold stays so: a retry may come with what was true before
-- the payment. Returns how many were changed.
local at, user, changed = now(), ARGV[2], {}
for i = 5, #ARGV, 3 do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  local deadline, holder = string.match(value or '', '^(%d+) (%d+)$')
  local ours
  local of = ARGV[i + 1]
  if string.find(of, ' ', 1, true) then
    ours = value == of
  else
    local last = tonumber(of)
    ours = not value or (deadline ~= '0' and (holder == user and tonumber(deadline) <= last or tonumber(deadline) <= at))
  end
  if ours and ARGV[i + 2] ~= (value or '') then
    if ARGV[i + 2] == '' then
      redis.call('HDEL', KEYS[1], ARGV[i])
    else
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    end
    changed[#changed + 1] = ARGV[i]
  end
end
-- A doorman who is being loaded just now must not be told what was true before.
local stamp = redis.call('HMGET', KEYS[1], 'v', 'n')
if #changed > 0 or not stamp[1] then redis.call('HSET', KEYS[1], unpack(counted(stamp[2], changed))) end
if ARGV[4] ~= '0' then
  local life = redis.call('ZSCORE', KEYS[2], user)
  local from, to = tonumber(ARGV[3]), tonumber(ARGV[4])
  if life and (tonumber(life) == from or from == 0 and tonumber(life) < to) then
    redis.call('ZADD', KEYS[2], ARGV[4], user)
  end
end
return #changed
