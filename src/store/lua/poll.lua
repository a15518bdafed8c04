-- Where a token stands. KEYS: 1 tokens, 2 waiting, 3 active, 4 admission. ARGV: 2 user, 3 ticket.
-- Returns {found, ticket, issued, activated or 0, deadline or 0, position, paused, batch in force or 0}; {0} when it is unknown
-- or over; {LOST}.
local user = ARGV[2]
local text = redis.call('HGET', KEYS[1], user)
if not text then return {lost() and LOST or 0} end
local ticket, issued, activated = record(text)
if ticket ~= ARGV[3] then return {0} end
local line = redis.call('HMGET', KEYS[4], 'paused', 'batch')
local paused, batch = line[1] == '1' and 1 or 0, tonumber(line[2] or 0)
if activated == '' then
  return {1, tonumber(ticket), tonumber(issued), 0, 0, redis.call('ZRANK', KEYS[2], user) + 1, paused, batch}
end
local deadline = tonumber(redis.call('ZSCORE', KEYS[3], user) or 0)
if deadline <= now() then return {0} end
return {1, tonumber(ticket), tonumber(issued), tonumber(activated), deadline, 0, paused, batch}
