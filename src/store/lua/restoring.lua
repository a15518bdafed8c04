-- A restore begins, unless the line is complete: a process that stood still may come when another one has restored it, and what has
-- happened in the line since would be undone. KEYS: 1 admission. ARGV: 2 this restore's name, 3 this run of Redis. Returns 1 when it
-- begins, 0 when there is nothing to restore.
if redis.call('HGET', KEYS[1], 'run') == ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'restoring', ARGV[2])
return 1
