-- work.lua: what wrk sends: one request for each line of a file of work.
--
-- wrk ... -s work.lua URL -- METHOD PATH BODY HEADERS MODE FILE
--   FILE    FILE.0, FILE.1, ... are the threads' own; fields of a line are separated by tabs; "-" for a request without any
--   PATH, BODY   texts with $1, $2, ... for the fields; BODY "-" for none
--   HEADERS letters: u Authorization from field 2, t Queue-Token from field 3, k a new Idempotency-Key
--   MODE    once: each line is used once, and the row is void when there are not enough; again: start over at the end
-- Ends with a line "wrk: name=number ..." for the program that started it.
local threads, count = {}, 0

function setup(thread)
  thread:set("number", count)
  count = count + 1
  threads[count] = thread
end

-- Lua source of an expression that fills the fields in.
local function expression(template)
  local parts = {}
  for text, field in (template .. "$"):gmatch("([^$]*)%$(%d?)") do
    if text ~= "" then parts[#parts + 1] = string.format("%q", text) end
    if field ~= "" then parts[#parts + 1] = "f" .. field end
  end
  return #parts == 0 and '""' or table.concat(parts, " .. ")
end

local function compile(method, path, body, letters)
  local head = {string.format("%q .. %s .. %q", method .. " ", expression(path), " HTTP/1.1\r\nHost: " .. wrk.host .. "\r\n")}
  if letters:find("u") then head[#head + 1] = [["Authorization: Bearer " .. f2 .. "\r\n"]] end
  if letters:find("t") then head[#head + 1] = [["Queue-Token: " .. f3 .. "\r\n"]] end
  if letters:find("k") then head[#head + 1] = [["Idempotency-Key: bench-" .. f1 .. "\r\n"]] end
  local source = "local f1, f2, f3, f4, f5 = ...\n"
  if body == "-" then
    source = source .. "return " .. table.concat(head, " .. ") .. [[ .. "\r\n"]]
  else
    source = source .. "local body = " .. expression(body) .. "\nreturn " .. table.concat(head, " .. ")
      .. [[ .. "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body]]
  end
  return assert(loadstring(source))
end

function init(args)
  local method, path, body, letters, mode, name = args[1], args[2], args[3], args[4], args[5], args[6]
  exhausted = 0
  if name == "-" then
    wrk.method, wrk.path = method, path
    return
  end
  local file = assert(io.open(name .. "." .. number))
  local build = compile(method, path, body, letters)
  local match, last = string.match, nil
  function request()
    local line = file:read()
    if not line then
      file:seek("set")
      line = file:read()
      if mode == "once" then exhausted = 1 end
    end
    return build(match(line, "([^\t]*)\t?([^\t]*)\t?([^\t]*)\t?([^\t]*)\t?([^\t]*)"))
  end
end

function done(summary, latency)
  local over = 0
  for _, thread in ipairs(threads) do over = over + (thread:get("exhausted") or 0) end
  local e = summary.errors
  io.write(string.format("wrk: requests=%d us=%d p50=%d p99=%d refused=%d broken=%d exhausted=%d\n", summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout, over))
end
