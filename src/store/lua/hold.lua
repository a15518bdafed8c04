-- The doorman of the seats: gate and claim in one step, all seats or none.
-- KEYS: 1 tokens, 2 waiting, 3 active, 4 admission, 5 the schedule's seats (HASH seat -> "deadline user", deadline 0 when sold;
-- n counts changes). ARGV: 2 user, 3 ticket, 4 life from the first use, 5 hold in ms, 6 grace in ms, 7... seats.
-- Returns {ACTIVE, deadline, life before, life now} when claimed, the lives 0 when the token's was long enough; {COLD,
-- changes} when the doorman has not been loaded from PostgreSQL; {TAKEN, own, seat...} with own 1 when all of these are the
-- caller's already;
-- {INVALID | WAITING | LOST, position} from the gate.
local TAKEN, COLD = 3, 4
local at, user = now(), ARGV[2]
local state, n = gate(at)
if state ~= ACTIVE then return {state, n} end

if redis.call('HEXISTS', KEYS[5], 'v') == 0 then
  return {COLD, changes(KEYS[5], KEYS[4])}
end

local seats = {unpack(ARGV, 7)}
local taken, own = {TAKEN, 1}, true
for i, value in ipairs(redis.call('HMGET', KEYS[5], unpack(seats))) do
  if value then
    local deadline, holder = string.match(value, '^(%d+) (%d+)$')
    if deadline == '0' or tonumber(deadline) > at then
      taken[#taken + 1] = tonumber(seats[i])
      own = own and holder == user
    end
  end
end
if #taken > 2 then -- guard: doorman
  taken[2] = own and 1 or 0 -- guard: doorman
  return taken -- guard: doorman
end -- guard: doorman

local deadline = at + ARGV[5]
local claim = int(deadline) .. ' ' .. user
for _, seat in ipairs(seats) do
  redis.call('HSET', KEYS[5], seat, claim)
end
redis.call('HINCRBY', KEYS[5], 'n', 1)
local life = deadline + ARGV[6]
if n >= life then return {ACTIVE, deadline, 0, 0} end
redis.call('ZADD', KEYS[3], int(life), user)
return {ACTIVE, deadline, n, life}
