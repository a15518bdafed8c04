-- booking.lua: whole bookings: a hold, and as soon as it is answered its payment.
--
-- wrk ... -s booking.lua URL -- KIND FILE
--   KIND    usher or floor: whose addresses
--   FILE    FILE.0, FILE.1, ...: lines of user, JWT, queue token, schedule, seat; a seat is used once
-- Ends with a line "wrk: name=number ..."; two requests are one booking.
local threads, count = {}, 0

function setup(thread)
  thread:set("number", count)
  count = count + 1
  threads[count] = thread
end

local kind, file
local held, by_seat, first, last = {}, {}, 1, 0

function init(args)
  kind, exhausted = args[1], 0
  file = assert(io.open(args[2] .. "." .. number))
end

local function post(path, item, body)
  return "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nAuthorization: Bearer " .. item[2] ..
    "\r\nQueue-Token: " .. item[3] .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

local function pay(reservation, item)
  local path = kind == "usher" and "/v1/payments" or "/floor/pay/" .. item[1] .. "/" .. reservation
  return post(path, item, '{"reservation_id":' .. reservation .. '}')
end

local function hold(item)
  local path = kind == "usher" and "/v1/reservations" or "/floor/hold/" .. item[1] .. "/" .. item[4] .. "/" .. item[5]
  return post(path, item, '{"schedule_id":' .. item[4] .. ',"seat_ids":[' .. item[5] .. ']}')
end

function request()
  if first <= last then
    local job = held[first]
    held[first] = nil
    first = first + 1
    return pay(job[1], job[2])
  end
  local line = file:read()
  if not line then
    exhausted = 1
    file:seek("set")
    line = file:read()
  end
  local item = {string.match(line, "([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)")}
  by_seat[item[5]] = item
  return hold(item)
end

function response(status, _, body)
  if status ~= 201 then return end
  local seat = string.match(body, '"seat_id":0*(%d+)')
  if not seat then return end
  last = last + 1
  held[last] = {string.match(body, '"id":0*(%d+)'), by_seat[seat]}
  by_seat[seat] = nil
end

function done(summary, latency)
  local over = 0
  for _, thread in ipairs(threads) do over = over + thread:get("exhausted") end
  local e = summary.errors
  io.write(string.format("wrk: requests=%d us=%d p50=%d p99=%d refused=%d broken=%d exhausted=%d\n", summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout, over))
end
