-- Raise the guard of a group: many of it lapsed together, so nobody of it is judged for now.
--
-- KEYS     holds         hash     hold and guards now in force
--          monitor       string   id of the leading monitor
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     monitor_id    string   the monitor that asks
--          group         string   global, orphans or project:ID
--          reason        string   why
--          evidence      string   the figures behind it, as JSON
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the guard, the last one where it stood already
-- ERRORS   NOT_LEADER    another monitor leads
-- USES     clock integer refuse leader log
local holds, monitor, revision, epoch, events = unpack(KEYS)
local monitor_id, group, reason, evidence, log_length = unpack(ARGV)

local standby = forbidden_to_standby(monitor, monitor_id, "guard '" .. group .. "'")
if standby then
  return standby
end
local log = open_log(revision, epoch, events, log_length)
if redis.call('HEXISTS', holds, group) == 1 then
  return { integer(log.last) }
end
append_event(log, { type = 'guard_raised', reason = reason, actor = 'monitor', evidence = evidence })
redis.call('HSET', holds, group, evidence)
return { integer(log.next) }
