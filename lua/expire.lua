-- Record the verdict on an instance whose heartbeat has lapsed, if all that led to it still holds. Where its group came
-- to be guarded (reason guard), one that is down becomes suspect again.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          down          set      ids that are suspect or down
--          monitor       string   id of the leading monitor
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          incarnation   integer  the incarnation that is judged
--          verdict       string   suspect or down
--          reason        string   why
--          deadline_ms   integer  when the heartbeat ended, as the monitor knew it
--          timed         integer  1 where that heartbeat was written one TTL before, 0 where that is not known
--          lapsed        integer  how many of its group lapsed with it, itself counted
--          group_size    integer  how many monitored ones its group has
--          details       string   further members of the evidence as JSON, each after a comma; '' for none
--          expected_ms   integer  Redis' time by the monitor's reckoning
--          tolerance_ms  integer  how far that may be off
--          monitor_id    string   the monitor that judges
--          log_length    integer  events the log keeps
-- RETURNS  outcome       string   alive, gone, unmonitored, repeat, suspect, down or stopped
--          revision      integer  the revision of the verdict, 0 where there was none
--          now_ms        integer  Redis' clock
-- ERRORS   STALLED       Redis' clock is not where the monitor expected it
--          NOT_LEADER    another monitor leads
--          STALE_INCARNATION  a newer registration has taken the id
-- USES     clock integer refuse leader record superseded encode log draft commit liveness
local record_key, heartbeat, down, monitor, revision, epoch, events = unpack(KEYS)
local id, incarnation, verdict, reason, deadline_ms, timed, lapsed, group_size, details, expected_ms,
  tolerance_ms, monitor_id, log_length = unpack(ARGV)

local log = open_log(revision, epoch, events, log_length)
local off = log.now - tonumber(expected_ms)
if math.abs(off) > tonumber(tolerance_ms) then
  return refuse('STALLED', "instance '%s' is not judged: the clock is %d ms off", id, off)
end
local standby = forbidden_to_standby(monitor, monitor_id, "judge instance '" .. id .. "'")
if standby then
  return standby
end
local before = read_record(record_key)
if not before then
  return { 'gone', 0, log.now }
end
local stale = superseded(id, before.incarnation, incarnation)
if stale then
  return stale
end
if not MONITORED[before.state] then
  return { 'unmonitored', 0, log.now }
end
if remaining_ms(heartbeat, tonumber(before.ttl_ms)) >= 0 then
  return { 'alive', 0, log.now }
end

local event = {
  type = 'health_changed', reason = reason, actor = 'monitor',
  evidence = string.format(
    '{"last_heartbeat_ms":%s,"deadline_ms":%.0f,"lateness_ms":%.0f,"lapsed":%d,"group_size":%d,"monitor":%s',
    timed == '1' and integer(deadline_ms - before.ttl_ms) or 'null', deadline_ms, log.now - deadline_ms,
    lapsed, group_size, cjson.encode(monitor_id)
  ) .. details .. '}',
}
local changes
if before.state == 'stopping' then
  event.type = 'state_changed'
  verdict = 'stopped'
  changes = { state = 'stopped', health = 'unknown', stopped_at_ms = integer(log.now) }
elseif before.health == verdict or (before.health == 'down' and reason ~= 'guard') then
  return { 'repeat', 0, log.now }
else
  changes = { health = verdict, down_at_ms = verdict == 'down' and integer(log.now) or '' }
end
commit(log, record_key, draft(log, before, changes, event))
if verdict == 'stopped' then
  redis.call('SREM', down, id)
else
  redis.call('SADD', down, id)
end
return { verdict, integer(log.next), log.now }
