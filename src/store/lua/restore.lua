-- Puts people of the line's history back into the line, where they are missing. KEYS: 1 tokens, 2 waiting, 3 active,
-- 4 admission, 5 events, 6 admitted. ARGV: 2 this restore's name, 3 life of an active token in ms, then groups of five: user, ticket,
-- state ("waiting", "active", "over", "used": over, and the history is told), issued, activated in ms. What Redis knows of
-- the same or a later ticket stays, unless history is further on; but who is active gets a new life in any case, since an
-- older copy may have forgotten that the token was used, or a hold. Who was let in is counted as admitted again, so that the budget
-- of the last period is not spent twice. Returns how many were changed; -1 when this is not the
-- restore that goes on, or what it has put back so far was lost again.
if redis.call('HGET', KEYS[4], 'restoring') ~= ARGV[2] then return -1 end
local at, changed = now(), 0
for i = 4, #ARGV, 5 do
  local user, ticket, state, issued, activated = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local text = redis.call('HGET', KEYS[1], user)
  local known, _, known_active = record(text or '0 0')
  if state == 'over' or state == 'used' then
    if known == ticket then
      redis.call('HDEL', KEYS[1], user)
      redis.call('ZREM', KEYS[2], user)
      redis.call('ZREM', KEYS[3], user)
      changed = changed + 1
    end
    if state == 'used' then
      redis.call('XADD', KEYS[5], '*', 'e', 'used', 'k', ticket, 'u', user, 'at', int(at))
    end
  elseif tonumber(known) < tonumber(ticket) or (known == ticket and state == 'active' and known_active == '') then
    redis.call('ZREM', KEYS[3], user)
    if state == 'active' then
      redis.call('HSET', KEYS[1], user, ticket .. ' ' .. issued .. ' ' .. activated .. ' ' .. int(at))
      redis.call('ZREM', KEYS[2], user)
      redis.call('ZADD', KEYS[3], int(at + ARGV[3]), user)
      redis.call('ZADD', KEYS[6], activated, activated .. '-' .. ticket .. ' 1')
    else
      redis.call('HSET', KEYS[1], user, ticket .. ' ' .. issued)
      redis.call('ZADD', KEYS[2], ticket, user)
    end
    changed = changed + 1
  elseif known == ticket and state == 'active' and tonumber(redis.call('ZSCORE', KEYS[3], user) or 0) < at + ARGV[3] then
    redis.call('ZADD', KEYS[3], int(at + ARGV[3]), user)
    changed = changed + 1
  end
end
return changed
