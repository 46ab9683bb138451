-- KEYS: the stream, the last entry, the start. ARGV: the tag of a new log.
local last = redis.call('GET', KEYS[2])
if last and redis.call('TYPE', KEYS[1]).ok == 'stream' then
  return last
end
return last_entry(ARGV[1])
