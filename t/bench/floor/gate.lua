-- floor: is the user active? KEYS: 1 active. ARGV: 1 user. Returns 1 or 0.
return redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
