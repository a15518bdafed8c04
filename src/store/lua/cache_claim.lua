-- Makes one caller the filler of a page. KEYS: 1 the page's lock, 2 the generation of all pages. ARGV: 2 lock in ms.
-- Returns {1, generation} for the filler, {0} for everybody else.
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) then return {0} end -- guard: one-filler
return {1, redis.call('GET', KEYS[2]) or '0'}
