-- Returns the mark of the last entry, also if something else has added it.
local last = redis.call('GET', last_key)
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local is_empty = not newest and redis.call('TYPE', stream).ok == 'stream'
if last and (is_empty or (newest and newest[1] == string.match(last, '^%S+'))) then
  return last
end
return find_last()
