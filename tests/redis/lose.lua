-- Loses the newest entries of a log, as a failover does. Returns the id of the last one that is left.
-- KEYS: the stream, the last entry, the start. ARGV: the number of entries, and the pattern of
-- idempotency keys.
local count = tonumber(ARGV[1])
local entries = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', count + 1)
local lost = {}
for index = 1, math.min(#entries, count) do
  local id = entries[index][1]
  lost[id] = true
  redis.call('XDEL', KEYS[1], id)
end
for _, key in ipairs(redis.call('KEYS', ARGV[2])) do
  if lost[redis.call('GET', key)] then
    redis.call('DEL', key)
  end
end
local last = entries[count + 1]
if not last then
  redis.call('DEL', unpack(KEYS))
  return '0-0'
end
local number_and_tag = string.match(last[2][2], '^(%d+ %x+) ')
redis.call('SET', KEYS[2], last[1] .. ' ' .. number_and_tag)
return last[1]
