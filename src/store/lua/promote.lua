-- Admits the front of the line, as far as the budget goes. The budget is here and taken here, so it does not matter how
-- many schedulers ask or how often: never more than `batch` in any `period`, paced at batch/period with at most a tenth
-- of a batch at once, and only while fewer than `active_max` are active.
-- With adaptive admission the batch is larger by the measured share of no-shows, and the cap lies between active_min and
-- active_max: down quickly when the shop is slow or mostly refuses, up slowly when it is well and the cap is in the way.
-- Judged once in a period. What is in force is left in `batch` and `most` for whoever tells people how long they wait.
-- KEYS: 1 tokens, 2 waiting, 3 active, 4 admission, 5 events, 6 admitted (ZSET time -> "time count"), 7 pulse.
-- ARGV: 2 batch, 3 period in ms, 4 active_max, 5 claim window in ms, 6 adaptive (1 or 0), 7 active_min.
-- Returns {admitted, waiting, active, serving}; {-1} when the line is lost and must be restored first.
if lost() then return {-1} end
local at = now()
local batch, period, active_max, window = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local admission = redis.call('HMGET', KEYS[4], 'paused', 'serving', 'credit', 'tick', 'share', 'cap', 'judged', 'yield',
  'allowed')
local serving = tonumber(admission[2] or 0)
local active = redis.call('ZCOUNT', KEYS[3], '(' .. int(at), '+inf')

-- Fewer than this many observations say nothing, and fewer than FEW slow ones are somebody's bad luck.
local ENOUGH, FEW = 10, 3

-- The share of no-shows among those whose claim was decided since the last look, smoothed.
local function no_show_share(before)
  local seen = redis.call('HMGET', KEYS[4], 'shows', 'no_shows')
  local shows, no_shows = tonumber(seen[1] or 0), tonumber(seen[2] or 0)
  if shows + no_shows < ENOUGH then return before end
  redis.call('HDEL', KEYS[4], 'shows', 'no_shows')
  return 0.7 * before + 0.3 * no_shows / (shows + no_shows)
end

-- Payments in a period for each person inside, smoothed, and whether they are fewer than before: then more people inside
-- only stand in each other's way.
local function completions(before, paid, periods)
  local now_paid = paid / periods
  local falls = before * active >= ENOUGH and now_paid < 0.9 * before * active
  return 0.8 * before + 0.2 * now_paid / math.max(active, 1), falls
end

-- Lowered from what is really inside, since a cap far above that would fall for long before it is felt; but not again while
-- more are inside than it allows: those have to leave first, and it would end far too low. Raised only where it keeps
-- people out: otherwise nothing tells whether the shop would bear more.
local function active_cap(before, seen, falls)
  if active > before then return before end
  if seen.served >= ENOUGH and seen.slow >= FEW and seen.slow > seen.served / 100 then return active * 0.7 end
  if seen.holds >= ENOUGH and seen.refused > seen.holds / 2 then return active * 0.9 end
  if active < before * 0.9 or falls then return before end
  return before * 1.05 + 1
end

-- What the workers have seen since this was last asked.
local function pulse()
  local seen, names = {}, {'served', 'slow', 'holds', 'refused', 'paid'}
  for i, count in ipairs(redis.call('HMGET', KEYS[7], unpack(names))) do
    seen[names[i]] = tonumber(count or 0)
  end
  redis.call('DEL', KEYS[7])
  return seen
end

-- So many may be active by what was let in: a cap that is lowered counts when no more are left than that.
local allowed = active_max
if active > active_max then allowed = tonumber(admission[9] or active) end

if ARGV[6] == '1' then
  local share, cap, yield = tonumber(admission[5] or 0), tonumber(admission[6] or active_max), tonumber(admission[8] or 0)
  local low = math.min(tonumber(ARGV[7]), active_max)
  local function between(n) return math.max(low, math.min(active_max, n)) end
  local since = at - (admission[7] or at - period)
  if since >= period then
    local seen, falls = pulse()
    share = no_show_share(share)
    yield, falls = completions(yield, seen.paid, since / period)
    cap = between(active_cap(between(cap), seen, falls))
    redis.call('HSET', KEYS[4], 'share', tostring(share), 'cap', tostring(cap), 'yield', tostring(yield), 'judged', int(at))
  end
  batch = math.min(2 * batch, math.floor(batch / (1 - math.min(share, 0.5))))
  active_max = math.floor(between(cap))
end

local recent, just_now = 0, 0
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', int(at - period))
for _, entry in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
  local time, count = string.match(entry, '^(%d+)-%d+ (%d+)$')
  recent = recent + count
  if at - time < period / 200 then just_now = just_now + count end
end

-- What falls due while no scheduler runs is made up for, up to a fifth of a batch, but at most a tenth at once: in half the time
-- between two looks of the scheduler, however many there are.
local lump = math.max(1, math.floor(batch / 10))
local credit = lump
if admission[4] then
  credit = math.min(math.max(2, batch / 5), tonumber(admission[3]) + math.max(0, at - admission[4]) * batch / period)
end

local room = active_max - active
room = math.min(room, batch - recent, math.floor(credit), lump - just_now) -- guard: admission-budget
if admission[1] == '1' then room = 0 end

local admitted = 0
if room > 0 then
  local front = redis.call('ZPOPMIN', KEYS[2], int(room))
  for i = 1, #front, 2 do
    local user, ticket = front[i], front[i + 1]
    local text = redis.call('HGET', KEYS[1], user)
    if text then -- a place without a token is nobody's
      redis.call('HSET', KEYS[1], user, text .. ' ' .. int(at))
      redis.call('ZADD', KEYS[3], int(at + window), user)
      redis.call('XADD', KEYS[5], '*', 'e', 'activated', 'k', ticket, 'u', user, 'at', int(at))
      serving = math.max(serving, tonumber(ticket))
      admitted = admitted + 1
    end
  end
end
if admitted > 0 then
  redis.call('ZADD', KEYS[6], int(at), int(at) .. '-' .. int(serving) .. ' ' .. admitted)
end
redis.call('HSET', KEYS[4], 'serving', int(serving), 'credit', tostring(credit - admitted), 'tick', int(at),
  'batch', int(batch), 'most', int(active_max), 'allowed', int(allowed))
return {admitted, redis.call('ZCARD', KEYS[2]), active + admitted, serving}
