-- Take back the heartbeat that a check has written for an instance which does not answer; its own one stays.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          monitor       string   id of the leading monitor
-- ARGV     id            string   the instance
--          incarnation   integer  the incarnation that was checked
--          monitor_id    string   the monitor that checks
-- RETURNS  outcome       string   disavowed, own (it heartbeats by itself), lapsed or gone
-- ERRORS   NOT_LEADER    another monitor leads
--          STALE_INCARNATION  a newer registration has taken the id
-- USES     refuse leader superseded vouched
local record_key, heartbeat, monitor = unpack(KEYS)
local id, incarnation, monitor_id = unpack(ARGV)

local standby = forbidden_to_standby(monitor, monitor_id, "disavow instance '" .. id .. "'")
if standby then
  return standby
end
local present_incarnation = redis.call('HGET', record_key, 'incarnation')
if not present_incarnation then
  return { 'gone' }
end
local stale = superseded(id, present_incarnation, incarnation)
if stale then
  return stale
end
local present = redis.call('GET', heartbeat)
if not present then
  return { 'lapsed' }
end
if not written_by_check(present) then
  return { 'own' }
end
redis.call('DEL', heartbeat)
return { 'disavowed' }
