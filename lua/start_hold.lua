-- Start a hold, a time in which nobody is judged, or add a reason to the one in force.
--
-- KEYS     holds         hash     hold and guards now in force
--          monitor       string   id of the leading monitor
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     monitor_id    string   the monitor that asks
--          reason        string   why
--          since_ms      integer  since when, by Redis' clock
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the hold, the last one where it stood already
-- ERRORS   NOT_LEADER    another monitor leads
-- USES     clock integer refuse leader log
local holds, monitor, revision, epoch, events = unpack(KEYS)
local monitor_id, reason, since_ms, log_length = unpack(ARGV)

local standby = forbidden_to_standby(monitor, monitor_id, 'start a hold')
if standby then
  return standby
end
local log = open_log(revision, epoch, events, log_length)
if redis.call('HEXISTS', holds, 'hold') == 1 then
  return { integer(log.last) }
end
local evidence = string.format('{"since_ms":%.0f,"monitor":%s,"reason":%s}',
  since_ms, cjson.encode(monitor_id), cjson.encode(reason))
append_event(log, { type = 'hold_started', reason = reason, actor = 'monitor', evidence = evidence })
redis.call('HSET', holds, 'hold', evidence)
return { integer(log.next) }
