-- What the scripts share. KEYS: the stream, the mark of its last entry, the mark of its start.
-- ARGV: the tag of a new log, and the two numbers of the latest position that the caller has seen.
local stream, newest_key, start_key = KEYS[1], KEYS[2], KEYS[3]
local new_tag, seen_ms, seen_seq = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- Returns whether an id comes after all that the caller has seen. A failover to a server whose clock is
-- behind could give an id again.
local function is_new(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  ms = tonumber(ms)
  return ms > seen_ms or (ms == seen_ms and tonumber(seq) > seen_seq)
end

local function id_after(ms)
  return string.format('%.0f-0', ms + 1)
end

-- Finds the last entry, and stores and returns its mark "id number tag". If it is not an entry of ours,
-- a log begins after it. An empty stream gets the id of an entry that is deleted at once, in the next
-- millisecond, so that two logs do not share ids.
local function find_newest()
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local id = entry and entry[1]
  local link = entry and entry[2][1] == 'c' and string.match(entry[2][2], '^(%d+ %x+) %x+$')
  if not id then
    id = redis.call('XADD', stream, '*', 'c', '')
    redis.call('XDEL', stream, id)
    id = id_after(math.max(tonumber(string.match(id, '^%d+')), seen_ms))
    redis.call('XADD', stream, id, 'c', '')
    redis.call('XDEL', stream, id)
  end
  local newest = id .. ' ' .. (link or '0 ' .. new_tag)
  redis.call('SET', newest_key, newest)
  if not link then
    redis.call('SET', start_key, newest)
  end
  return newest
end
