-- Renew the leader's lease, or take a free one: a small write that answers the time.
-- A lease of another that would last too long, since the clock went back or somebody set it by hand, is cut.
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
  local left = redis.call('PTTL', monitor)
  if left < 0 or left > tonumber(lease_ms) then
    redis.call('PEXPIRE', monitor, lease_ms)
  end
  return { clock(), leader, 0 }
end
redis.call('SET', monitor, monitor_id, 'PX', lease_ms)
return { clock(), monitor_id, leader and 0 or 1 }
