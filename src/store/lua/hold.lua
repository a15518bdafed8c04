-- The doorman of the seats: gate and claim in one step, all seats or none.
-- KEYS: 1 tokens, 2 waiting, 3 active, 4 admission, 5 the schedule's seats (HASH seat -> "deadline user", deadline 0 when sold;
-- v when it was loaded; n and c0... its changes). ARGV: 2 user, 3 ticket, 4 life from the first use, 5 hold in ms, 6 grace in ms,
-- 7... seats.
-- Returns {ACTIVE, deadline, lapsed, life before, life now} when claimed: lapsed 1 when one of the seats has had an earlier
-- claim that PostgreSQL may still have to close, the lives 0 when the token's was long enough; {COLD, changes} when the
-- doorman has not been loaded from PostgreSQL; {TAKEN, own, seat...}, own being the latest deadline (1 at least) of these where
-- all are the caller's already, and else 0; {INVALID | WAITING | LOST, position} from the gate.
local TAKEN, COLD = 3, 4
local at, user = now(), ARGV[2]
local state, n = gate(at)
if state ~= ACTIVE then return {state, n} end

local seats = {unpack(ARGV, 7)}
local hall = redis.call('HMGET', KEYS[5], 'v', 'n', unpack(seats))
if not hall[1] then return {COLD, changes(KEYS[5], KEYS[4])} end

local taken, own, lapsed = {TAKEN, 0}, 1, 0
for i, seat in ipairs(seats) do
  local value = hall[i + 2]
  if value then
    lapsed = 1
    local deadline, holder = string.match(value, '^(%d+) (%d+)$')
    if deadline == '0' or tonumber(deadline) > at then
      taken[#taken + 1] = tonumber(seat)
      own = holder == user and own > 0 and math.max(own, tonumber(deadline)) or 0
    end
  end
end
if #taken > 2 then -- guard: doorman
  taken[2] = own -- guard: doorman
  return taken -- guard: doorman
end -- guard: doorman

local deadline = at + ARGV[5]
local claim = int(deadline) .. ' ' .. user
local claimed = counted(hall[2], seats)
for _, seat in ipairs(seats) do
  claimed[#claimed + 1], claimed[#claimed + 2] = seat, claim
end
redis.call('HSET', KEYS[5], unpack(claimed))
local life = deadline + ARGV[6]
if n >= life then return {ACTIVE, deadline, lapsed, 0, 0} end
redis.call('ZADD', KEYS[3], int(life), user)
return {ACTIVE, deadline, lapsed, n, life}
