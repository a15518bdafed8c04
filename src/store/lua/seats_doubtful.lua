-- The claims of a schedule that should be asked about: past their deadline, or older than a hold takes to be decided (its
-- request may have been cut off). KEYS: 1 the schedule's seats. ARGV: 2 hold in ms, 3 how old a claim is doubtful in ms.
-- Returns a flat list {seat, "deadline user", ...}.
local at, doubtful = now(), {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local deadline = string.match(all[i + 1], '^(%d+) %d+$')
  if deadline and deadline ~= '0' and deadline - ARGV[2] + ARGV[3] <= at then
    doubtful[#doubtful + 1] = all[i]
    doubtful[#doubtful + 1] = all[i + 1]
  end
end
return doubtful
