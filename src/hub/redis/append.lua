-- KEYS: the stream, the last entry, the start, and the idempotency key if there is one.
-- ARGV: the tags of a new log and of this entry, the maximum of entries, the maximum age and the
-- life of the idempotency key in milliseconds (0: none), and the topic, kind, data and coalescing key.
local stream, newest, idempotency = KEYS[1], KEYS[2], KEYS[4]
local new_tag, tag, max_entries, max_age, life = unpack(ARGV, 1, 5)

if idempotency then
  local written = redis.call('GET', idempotency)
  if written then
    return written
  end
end

local function add(last)
  local number, previous = string.match(last, ' (%d+) (%x+)$')
  number = string.format('%.0f', number + 1)
  local id = redis.call('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', max_entries, '*',
    'c', number .. ' ' .. tag .. ' ' .. previous,
    't', ARGV[6], 'k', ARGV[7], 'd', ARGV[8], 'o', ARGV[9])
  return id, number
end

local last = redis.call('GET', newest) or last_entry(new_tag)
local id, number = add(last)
if not id then
  -- The stream was deleted.
  id, number = add(last_entry(new_tag))
end
redis.call('SET', newest, id .. ' ' .. number .. ' ' .. tag)
if max_age ~= '0' then
  local oldest = string.match(id, '^%d+') - max_age
  redis.call('XTRIM', stream, 'MINID', '~', string.format('%.0f', math.max(oldest, 0)))
end
if idempotency then
  redis.call('SET', idempotency, id, 'PX', life)
end
return id
