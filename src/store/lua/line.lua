-- The line as a whole. KEYS: 1 waiting, 2 active, 3 seq, 4 admission.
-- Returns {paused or LOST, serving, issued, waiting, active, now, batch and cap in force (0: promote never ran)}.
local at = now()
local admission = redis.call('HMGET', KEYS[4], 'paused', 'serving', 'batch', 'most')
return {
  lost() and LOST or admission[1] == '1' and 1 or 0,
  tonumber(admission[2] or 0),
  tonumber(redis.call('GET', KEYS[3]) or 0),
  redis.call('ZCARD', KEYS[1]),
  redis.call('ZCOUNT', KEYS[2], '(' .. int(at), '+inf'),
  at,
  tonumber(admission[3] or 0),
  tonumber(admission[4] or 0),
}
