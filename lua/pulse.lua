-- Renew the leader's lease, or take a free one: a small write that answers the time.
--
-- KEYS     monitor       string   id of the leading monitor
-- ARGV     monitor_id    string   the monitor that asks
--          lease_ms      integer  how long its lease lasts from now
-- RETURNS  now_ms        integer  Redis' clock
--          leader        string   who leads now
--          taken         integer  1 where the lease was free and has been taken by this call
-- ERRORS
-- USES     clock
local monitor = unpack(KEYS)
local monitor_id, lease_ms = unpack(ARGV)

local leader = redis.call('GET', monitor)
if leader and leader ~= monitor_id then
  return { clock(), leader, 0 }
end
redis.call('SET', monitor, monitor_id, 'PX', lease_ms)
return { clock(), monitor_id, leader and 0 or 1 }
