-- A hit prolongs a page: fresh for another ttl, but never beyond its greatest age. KEYS: 1 page.
-- ARGV: 2 ttl in ms, 3 greatest age in ms. Returns until when it is fresh, 0 when it is gone.
local created, fresh = string.match(redis.call('GETRANGE', KEYS[1], 0, 26), '^(%d+) (%d+)$')
if not created then return 0 end
local at = now()
local longer = math.min(created + ARGV[3], at + ARGV[2])
if tonumber(fresh) > at and longer > tonumber(fresh) then
  redis.call('SETRANGE', KEYS[1], 14, int(longer))
  fresh = longer
end
return tonumber(fresh)
