-- The gate, and what the doorman knows of a schedule's seats if that is not what the caller knows.
-- KEYS: the gate's, 5 the schedule's seats. ARGV: the gate's, 5 known version ("loaded.changes").
-- Returns the gate's refusal, or {ACTIVE, now, "loaded.changes"} when the known version is current, the same with a flat
-- list {seat, "deadline user", ...} as the fourth when it is not, and after that 1 when the list is only what is new, with ""
-- for what is free; or {ACTIVE, now, "", changes} when the doorman has not been loaded from PostgreSQL.
local at = now()
local state, n = gate(at)
if state ~= ACTIVE then return {state, n} end
local stamp = redis.call('HMGET', KEYS[5], 'v', 'n')
if not stamp[1] then return {ACTIVE, at, '', changes(KEYS[5], KEYS[4])} end
local version = stamp[1] .. '.' .. (stamp[2] or '0')
if version == ARGV[5] then return {ACTIVE, at, version} end
local news = since(KEYS[5], stamp, ARGV[5])
if news then return {ACTIVE, at, version, news, 1} end
return {ACTIVE, at, version, redis.call('HGETALL', KEYS[5])}
