-- Adds one worker's sums to the shop's pulse; told twice it does no harm. KEYS: 1 pulse. ARGV: 2 served, 3 slow, 4 holds, 5 refused, 6 paid.
for i, field in ipairs({'served', 'slow', 'holds', 'refused', 'paid'}) do
  redis.call('HINCRBY', KEYS[1], field, ARGV[i + 1])
end
return 1
