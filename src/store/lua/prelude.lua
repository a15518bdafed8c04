-- In front of every script: the clock, and what a token's record says.
--
-- ARGV[1] is always the test clock's offset in milliseconds (0 in production). A record in the hash of tokens is
-- "ticket issued" while waiting, "ticket issued activated" once admitted, "ticket issued activated used" from the first
-- use on; times in milliseconds.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
end

local function int(n)
  return string.format('%.0f', n)
end

local function record(text)
  return string.match(text, '^(%d+) (%d+) ?(%d*) ?(%d*)$')
end

-- By this who loads the doorman from PostgreSQL sees whether something has happened since he asked there: the count of changes,
-- and, since that is lost with Redis and begins anew, which restore of the line was the last and which is under way.
local function changes(seats, admission)
  local restore = redis.call('HMGET', admission, 'restored', 'restoring')
  return (restore[1] or '') .. ' ' .. (restore[2] or '') .. ' ' .. (redis.call('HGET', seats, 'n') or '0')
end

-- A doorman's changes are counted in his field n, and the last CHANGES of them are told in the fields c0, c1...: "n:seat,seat",
-- or "n:*" for many seats. So whoever knows his version of a moment ago is told what is new, and not the whole hall. counted()
-- makes the fields of one change more of these seats, n being the count so far.
local CHANGES, SEATS_TOLD = 128, 16
local function counted(n, seats)
  local number = int((n or 0) + 1)
  local told = #seats > SEATS_TOLD and '*' or table.concat(seats, ',')
  return {'n', number, 'c' .. number % CHANGES, number .. ':' .. told}
end

-- What is new since a version ("loaded.changes") at a doorman whose fields v and n are stamp: a flat list {seat, "deadline
-- user" or "" when free, ...}; nil when that is not told any more.
local function since(key, stamp, version)
  local loaded, n = string.match(version, '^(%d+)%.(%d+)$')
  local first, last = tonumber(n or 0) + 1, tonumber(stamp[2] or 0)
  if loaded ~= stamp[1] or first > last or last - first >= CHANGES then return nil end
  local fields, seats, seen, news = {}, {}, {}, {}
  for i = first, last do fields[#fields + 1] = 'c' .. i % CHANGES end
  for i, text in ipairs(redis.call('HMGET', key, unpack(fields))) do
    local number, list = string.match(text or '', '^(%d+):([%d,]+)$')
    if tonumber(number) ~= first + i - 1 then return nil end
    for seat in string.gmatch(list, '%d+') do
      if not seen[seat] then seats[#seats + 1] = seat end
      seen[seat] = true
    end
  end
  for i, value in ipairs(redis.call('HMGET', key, unpack(seats))) do
    news[#news + 1], news[#news + 2] = seats[i], value or ''
  end
  return news
end

-- Whether the line is all there. The field `run` names the run of Redis for which it was last made complete; it goes with
-- everything else when Redis loses its data, and then nobody's place may be denied or given again before the line is
-- restored from PostgreSQL. Asked only where a token is not found. KEYS: 4 admission.
local LOST = 9
local function lost()
  return redis.call('HEXISTS', KEYS[4], 'run') == 0
end

-- The gate. KEYS: 1 tokens, 2 waiting, 3 active, 4 admission. ARGV: 2 user, 3 ticket, 4 life from the first use in ms, 0
-- only to look. Returns INVALID | WAITING, position | ACTIVE, deadline | LOST. The first use of an admitted token starts
-- its life.
local INVALID, WAITING, ACTIVE = 0, 1, 2
local function gate(at)
  local user = ARGV[2]
  local text = redis.call('HGET', KEYS[1], user)
  if not text then return lost() and LOST or INVALID, 0 end
  local ticket, issued, activated, used = record(text)
  if ticket ~= ARGV[3] then return INVALID, 0 end
  if activated == '' then
    return WAITING, redis.call('ZRANK', KEYS[2], user) + 1
  end
  local deadline = tonumber(redis.call('ZSCORE', KEYS[3], user) or 0)
  if deadline <= at then return INVALID, 0 end
  if used == '' and ARGV[4] ~= '0' then
    deadline = at + ARGV[4]
    redis.call('HSET', KEYS[1], user, text .. ' ' .. int(at))
    redis.call('ZADD', KEYS[3], int(deadline), user)
    redis.call('HINCRBY', KEYS[4], 'shows', 1)
  end
  return ACTIVE, deadline
end
