-- The claims of a schedule whose deadline has passed. KEYS: 1 the schedule's seats. Returns the seat ids.
local at, over = now(), {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local deadline = string.match(all[i + 1], '^(%d+) %d+$')
  if deadline and deadline ~= '0' and tonumber(deadline) <= at then over[#over + 1] = all[i] end
end
return over
