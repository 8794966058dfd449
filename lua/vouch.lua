-- Heartbeat for an instance that a check has found alive. Its own heartbeat is left alone, unless it is about to lapse.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          monitor       string   id of the leading monitor
-- ARGV     id            string   the instance
--          incarnation   integer  the incarnation that was checked
--          value         string   what the check tells, as JSON whose first member is `check`
--          short_ms      integer  what remains of its own heartbeat at most where that is about to lapse
--          renew         integer  1 where a heartbeat is only prolonged, not begun
--          monitor_id    string   the monitor that checks
-- RETURNS  outcome       string   vouched, own (it heartbeats by itself), lapsed, gone or unmonitored
--          left_ms       integer  what remains of its heartbeat, negative for none
-- ERRORS   NOT_LEADER    another monitor leads
--          STALE_INCARNATION  a newer registration has taken the id
-- USES     clock refuse leader record superseded liveness vouched
local record_key, heartbeat, monitor = unpack(KEYS)
local id, incarnation, value, short_ms, renew, monitor_id = unpack(ARGV)

local standby = forbidden_to_standby(monitor, monitor_id, "vouch for instance '" .. id .. "'")
if standby then
  return standby
end
local record = read_record(record_key)
if not record then
  return { 'gone', -2 }
end
local stale = superseded(id, record.incarnation, incarnation)
if stale then
  return stale
end
if not MONITORED[record.state] then
  return { 'unmonitored', -2 }
end
local ttl_ms = tonumber(record.ttl_ms)
local left = remaining_ms(heartbeat, ttl_ms)
if left < 0 and renew == '1' then
  return { 'lapsed', left }
end
local present = redis.call('GET', heartbeat)
-- The first heartbeat, which the registration or the start has begun, is nobody's own.
local begun_ms = tonumber(record.started_at_ms) or 0
local first = present == '{}' and math.abs(clock() + left - begun_ms - ttl_ms) <= 5
if left > tonumber(short_ms) and not first and not written_by_check(present) then
  return { 'own', left }
end
redis.call('SET', heartbeat, value, 'PX', ttl_ms)
return { 'vouched', ttl_ms }
