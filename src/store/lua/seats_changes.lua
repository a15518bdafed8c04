-- Whether the doorman of a schedule has been loaded, and what its loader must know. KEYS: 1 the schedule's seats, 2 admission.
-- Returns {1 or 0, what seats_load.lua wants to hear}.
return {redis.call('HEXISTS', KEYS[1], 'v'), changes(KEYS[1], KEYS[2])}
