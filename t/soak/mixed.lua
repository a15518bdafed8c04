-- mixed.lua: the soak's load: people who join, wait, look around, hold, cancel, charge and pay, for ever.
--
-- wrk -t N -c N ... -s mixed.lua URL -- WORLD SEED
--   WORLD   a Lua file that returns {jwts = {...}, halls = {{schedule, seat, ...}, ...}, concerts = {...}}
-- As many threads as connections, so that an answer belongs to the request before it. Ends with a line
-- "soak: requests=N errors=N <status>=N ..."; errors are those of the transport.
local threads, count = {}, 0

function setup(thread)
  thread:set("number", count)
  count = count + 1
  threads[count] = thread
end

local world, people, person, step

local function request_text(method, path, options)
  local lines = {method .. " " .. path .. " HTTP/1.1\r\nHost: soak.test\r\n"}
  if not options.stranger then lines[#lines + 1] = "Authorization: Bearer " .. person.jwt .. "\r\n" end
  if person.token then lines[#lines + 1] = "Queue-Token: " .. person.token .. "\r\n" end
  if options.key then lines[#lines + 1] = "Idempotency-Key: " .. options.key .. "\r\n" end
  if options.body then
    lines[#lines + 1] = "Content-Type: application/json\r\nContent-Length: " .. #options.body .. "\r\n"
  end
  lines[#lines + 1] = "\r\n"
  lines[#lines + 1] = options.body
  return table.concat(lines)
end

local keys = 0
local function new_key()
  keys = keys + 1
  return "soak-" .. seed .. "-" .. number .. "-" .. keys
end

-- What a person may do: name = function that returns the request; after[name] reads the answer.
local act, after = {}, {}

function act.join() return request_text("POST", "/v1/queue/tokens", {body = "{}"}) end
function after.join(status, body)
  if status > 201 then return end
  person.token, person.state = body:match('"token":"([^"]+)"'), body:match('"status":"(%a+)"')
end

function act.poll() return request_text("GET", "/v1/queue/tokens/me", {stranger = true}) end
function after.poll(status, body)
  if status == 404 then person.token, person.state = nil, nil end
  if status == 200 then person.state = body:match('"status":"(%a+)"') end
end

function act.leave() return request_text("DELETE", "/v1/queue/tokens/me", {stranger = true}) end
function after.leave() person.token, person.state = nil, nil end

function act.line() return request_text("GET", "/v1/queue", {stranger = true}) end
function act.page() return request_text("GET", "/v1/concerts?page=" .. math.random(0, 4) .. "&size=10", {}) end
function act.cursor()
  return request_text("GET", "/v1/concerts?limit=" .. math.random(5, 20) .. (person.after and "&after=" .. person.after or ""), {})
end
function after.cursor(status, body) person.after = status == 200 and body:match('"next":"([^"]+)"') or nil end
function act.concert() return request_text("GET", "/v1/concerts/" .. world.concerts[math.random(#world.concerts)], {}) end
function act.schedules()
  return request_text("GET", "/v1/concerts/" .. world.concerts[math.random(#world.concerts)] .. "/schedules", {})
end
function act.seats()
  local all = math.random(2) == 1 and "?all=true" or ""
  return request_text("GET", "/v1/schedules/" .. world.halls[math.random(#world.halls)][1] .. "/seats" .. all, {})
end

function act.hold()
  local hall = world.halls[math.random(#world.halls)]
  local seat = hall[math.random(2, #hall)]
  person.key = math.random(3) == 1 and person.key or new_key()
  return request_text("POST", "/v1/reservations", {key = person.key,
    body = '{"schedule_id":' .. hall[1] .. ',"seat_ids":[' .. seat .. ']}'})
end
function after.hold(status, body)
  if status == 201 then person.held = body:match('"id":(%d+)') end
end

function act.look() return request_text("GET", "/v1/reservations/" .. (person.held or 1), {}) end
function act.cancel() return request_text("DELETE", "/v1/reservations/" .. (person.held or 1), {}) end
function after.cancel() person.held = nil end
function act.pay()
  return request_text("POST", "/v1/payments", {key = new_key(), body = '{"reservation_id":' .. (person.held or 1) .. '}'})
end
function after.pay(status)
  if status == 201 then person.held, person.token, person.state = nil, nil, nil end
end
function act.charge() return request_text("POST", "/v1/balance/charges", {key = new_key(), body = '{"amount":1000}'}) end
function act.balance() return request_text("GET", "/v1/balance", {}) end
function act.entries() return request_text("GET", "/v1/balance/entries?limit=20", {}) end
function act.nothing() return request_text("GET", "/v1/payments/999999999", {}) end
function act.broken() return request_text("POST", "/v1/reservations", {body = '{"schedule_id":"x","seat_ids":[1,1'}) end

local of_waiting = {"poll", "poll", "poll", "poll", "poll", "poll", "join", "leave", "line", "balance", "charge", "seats"}
local of_active = {"page", "cursor", "cursor", "concert", "schedules", "seats", "seats", "hold", "hold", "hold", "look",
  "cancel", "pay", "charge", "balance", "entries", "poll", "line", "nothing", "broken"}

function init(args)
  world, seed = dofile(args[1]), args[2]
  math.randomseed(tonumber(seed) * 1000 + number)
  people = {}
  for i = number + 1, #world.jwts, tonumber(args[3]) do people[#people + 1] = {jwt = world.jwts[i]} end
  statuses = ""
  counts = {}
end

function request()
  person = people[math.random(#people)]
  local from = person.state == "active" and of_active or of_waiting
  step = person.token and from[math.random(#from)] or "join"
  return act[step]()
end

function response(status, _, body)
  counts[status] = (counts[status] or 0) + 1
  if after[step] then after[step](status, body) end
  -- Only plain values can be read from outside the thread.
  local parts = {}
  for code, times in pairs(counts) do parts[#parts + 1] = code .. "=" .. times end
  statuses = table.concat(parts, " ")
end

function done(summary)
  local total = {}
  for _, thread in ipairs(threads) do
    for code, times in thread:get("statuses"):gmatch("(%d+)=(%d+)") do total[code] = (total[code] or 0) + times end
  end
  local parts = {}
  for code, times in pairs(total) do parts[#parts + 1] = code .. "=" .. times end
  table.sort(parts)
  local e = summary.errors
  print("soak: requests=" .. summary.requests .. " errors=" .. e.connect + e.read + e.write + e.timeout .. " "
    .. table.concat(parts, " "))
end
