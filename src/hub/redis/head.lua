-- Returns the mark of the last entry, also if something else has added it.
local newest = redis.call('GET', newest_key)
local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local is_empty = not entry and redis.call('TYPE', stream).ok == 'stream'
if newest and (is_empty or (entry and entry[1] == string.match(newest, '^%S+'))) then
  return newest
end
return find_newest()
