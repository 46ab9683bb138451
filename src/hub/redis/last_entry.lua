-- Returns "id number tag" of the last entry. An empty log gets the id of an entry that is deleted at
-- once, so that the ids of two logs differ.
local function last_entry(new_tag)
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  local id = newest and newest[1]
  local link = newest and newest[2][1] == 'c' and string.match(newest[2][2], '^(%d+ %x+) %x+$')
  if not id then
    id = redis.call('XADD', KEYS[1], '*', 'c', '')
    redis.call('XDEL', KEYS[1], id)
  end
  local last = id .. ' ' .. (link or '0 ' .. new_tag)
  redis.call('SET', KEYS[2], last)
  if not link then
    redis.call('SET', KEYS[3], last)
  end
  return last
end
