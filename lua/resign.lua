-- Give the leader's lease back, so that a standby need not wait for its end.
--
-- KEYS     monitor       string   id of the leading monitor
-- ARGV     monitor_id    string   the monitor that leaves
-- RETURNS  resigned      integer  1 where it led
-- ERRORS
-- USES
local monitor = unpack(KEYS)
local monitor_id = unpack(ARGV)

if redis.call('GET', monitor) ~= monitor_id then
  return { 0 }
end
redis.call('DEL', monitor)
return { 1 }
