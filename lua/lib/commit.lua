-- Carry out a drafted change of a record: append its event, then write its fields. The only way a record changes.
local function commit(log, key, drafted)
  append_event(log, drafted.event)
  redis.call('HSET', key, unpack(drafted.written))
end
