"""The scripts that count in Valkey or Redis. The server runs each as a whole, with its own time.

They decide as ``authz.limits.counting`` and ``authz.limits.window`` do, and a test compares both.
"""

from authz.limits.window import SLOTS

_CLOCK = f"""
local clock = redis.call('TIME')
local second = tonumber(clock[1])
local now = second * 1000 + math.floor(tonumber(clock[2]) / 1000)
local SLOTS = {SLOTS}
"""
_WINDOWS = """
local windows = {}

-- Reads a window: its slots, the oldest first, and their sum.
local function window(key)
  if windows[key] then return windows[key] end
  local found = {slots = {}, total = 0, changed = false}
  for at, amount in string.gmatch(redis.call('GET', key) or '', '(%d+):(%d+)') do
    -- A clock that goes back does not lose an amount.
    at, amount = math.min(tonumber(at), second), tonumber(amount)
    if at > second - SLOTS then
      local last = found.slots[#found.slots]
      if last and last[1] == at then
        last[2] = last[2] + amount
      else
        table.insert(found.slots, {at, amount})
      end
      found.total = found.total + amount
    end
  end
  windows[key] = found
  return found
end

local function add(key, amount)
  local found = window(key)
  local last = found.slots[#found.slots]
  if last and last[1] == second then
    last[2] = last[2] + amount
  else
    table.insert(found.slots, {second, amount})
  end
  found.total = found.total + amount
  found.changed = true
end

local function wait(found, room)
  local left, free = found.total, now
  for _, slot in ipairs(found.slots) do
    if left <= room then break end
    left = left - slot[2]
    free = (slot[1] + SLOTS) * 1000
  end
  return free - now
end

local function write()
  for key, found in pairs(windows) do
    if found.changed then
      local texts = {}
      for _, slot in ipairs(found.slots) do
        table.insert(texts, string.format('%.0f:%.0f', slot[1], slot[2]))
      end
      redis.call('SET', key, table.concat(texts, ' '), 'PX', (SLOTS + 1) * 1000)
    end
  end
end
"""

ADMIT = (
    _CLOCK
    + _WINDOWS
    + """
-- KEYS: of the limits, then of the requests. ARGV: the life of a request in milliseconds, and the
-- batch as JSON: for each request its key, and its limits as {key, is it concurrent, counts the
-- request, most}. Returns two numbers for each request: 0 and 0 if it passes, else the place of the
-- limit and the milliseconds to wait.
local life = tonumber(ARGV[1])
local open = {}

local function concurrent(key)
  if not open[key] then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    open[key] = redis.call('ZCARD', key)
  end
  return open[key]
end

local answers = {}
for _, request in ipairs(cjson.decode(ARGV[2])) do
  local reached, longest = 0, -1
  for place, limit in ipairs(request[2]) do
    local key, kind, most = KEYS[limit[1]], limit[2], limit[3]
    local waits = -1
    if kind == 'concurrent' then
      if concurrent(key) >= most then waits = 0 end
    else
      local found = window(key)
      if found.total >= most then waits = wait(found, most - 1) end
    end
    if waits > longest then reached, longest = place, waits end
  end
  if reached == 0 then
    local ends = {}
    for _, limit in ipairs(request[2]) do
      local key, kind = KEYS[limit[1]], limit[2]
      if kind == 'requests' then
        add(key, 1)
      else
        table.insert(ends, kind .. ' ' .. key)
        if kind == 'concurrent' then
          redis.call('ZADD', key, now + life, KEYS[request[1]])
          redis.call('PEXPIRE', key, life)
          open[key] = open[key] + 1
        end
      end
    end
    if #ends > 0 then
      redis.call('SET', KEYS[request[1]], cjson.encode({now + life, ends}), 'PX', life)
    end
    longest = 0
  end
  table.insert(answers, reached)
  table.insert(answers, longest)
end
write()
return answers
"""
)

SETTLE = (
    _CLOCK
    + _WINDOWS
    + """
-- KEYS: of the requests. ARGV: their tokens.
for place, request in ipairs(KEYS) do
  local stored = redis.call('GET', request)
  local ends = stored and cjson.decode(stored)
  if ends then redis.call('DEL', request) end
  if ends and ends[1] > now then
    for _, text in ipairs(ends[2]) do
      local kind, key = string.match(text, '^(%a+) (.*)$')
      if kind == 'concurrent' then
        redis.call('ZREM', key, request)
      elseif tonumber(ARGV[place]) > 0 then
        add(key, tonumber(ARGV[place]))
      end
    end
  end
end
write()
return 0
"""
)
