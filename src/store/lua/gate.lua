-- Is this token admitted? KEYS and ARGV: the gate's. Returns {state, position or deadline, now}.
local at = now()
local state, n = gate(at)
return {state, n, at}
