-- Appends an entry and returns its id.
-- KEYS[4]: the idempotency key, if there is one. ARGV, from the fourth on: the entry's tag, the maximum
-- of entries, the maximum age and the life of the idempotency key in milliseconds (0: none), and the
-- topic, kind, data and coalescing key.
local idempotency = KEYS[4]
local tag, max_entries, max_age, life = unpack(ARGV, 4, 7)

if idempotency then
  local written = redis.call('GET', idempotency)
  if written then
    return written
  end
end

local function add(newest)
  local number, previous = string.match(newest, ' (%d+) (%x+)$')
  number = string.format('%.0f', number + 1)
  local function add_at(id)
    return redis.call('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', max_entries, id,
      'c', number .. ' ' .. tag .. ' ' .. previous,
      't', ARGV[8], 'k', ARGV[9], 'd', ARGV[10], 'o', ARGV[11])
  end
  local id = add_at('*')
  if id and not is_new(id) then
    redis.call('XDEL', stream, id)
    id = add_at(id_after(seen_ms))
  end
  return id, number
end

local id, number = add(redis.call('GET', newest_key) or find_newest())
if not id then
  -- The stream was deleted.
  id, number = add(find_newest())
end

-- From here on the entry is written, whatever fails.
local failure
local function try(...)
  local result = redis.pcall(...)
  failure = failure or (type(result) == 'table' and result.err)
end
try('SET', newest_key, id .. ' ' .. number .. ' ' .. tag)
if idempotency then
  try('SET', idempotency, id, 'PX', life)
end
if max_age ~= '0' then
  local oldest = string.match(id, '^%d+') - max_age
  try('XTRIM', stream, 'MINID', '~', string.format('%.0f', math.max(oldest, 0)))
end
if failure then
  return redis.error_reply('WRITTEN ' .. failure)
end
return id
