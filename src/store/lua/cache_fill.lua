-- Stores a page, unless pages were evicted since its filler began. A page is "created fresh-until generation body" with two
-- times of 13 digits. KEYS: 1 page, 2 its lock, 3 generation.
-- ARGV: 2 generation seen, 3 ttl in ms, 4 how long the old copy is kept in ms, 5 body. Returns 1 when stored.
redis.call('DEL', KEYS[2])
if (redis.call('GET', KEYS[3]) or '0') ~= ARGV[2] then return 0 end
local at = now()
redis.call('SET', KEYS[1], int(at) .. ' ' .. int(at + ARGV[3]) .. ' ' .. ARGV[2] .. ' ' .. ARGV[5], 'PX', ARGV[4])
return 1
