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
-- USES     refuse vouched
local record_key, heartbeat, monitor = unpack(KEYS)
local id, incarnation, monitor_id = unpack(ARGV)

local leader = redis.call('GET', monitor) or ''
if leader ~= monitor_id then
  return refuse('NOT_LEADER', "instance '%s' is not disavowed by '%s': '%s' leads", id, monitor_id, leader)
end
local present_incarnation = redis.call('HGET', record_key, 'incarnation')
if not present_incarnation then
  return { 'gone' }
end
if present_incarnation ~= incarnation then
  return refuse('STALE_INCARNATION', "instance '%s' is incarnation %s now, not %s",
    id, present_incarnation, incarnation)
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
