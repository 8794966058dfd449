-- Release the guard of a group, by the leading monitor or by hand: who of it is silent is judged again.
--
-- KEYS     holds         hash     hold and guards now in force
--          monitor       string   id of the leading monitor
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     monitor_id    string   the monitor that asks, '' for a release by hand
--          group         string   global, orphans or project:ID
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the release, the last one where there was no guard
--          released      integer  1 where there was one
-- ERRORS   NOT_LEADER    another monitor leads
-- USES     clock integer refuse leader log
local holds, monitor, revision, epoch, events = unpack(KEYS)
local monitor_id, group, reason, actor, log_length = unpack(ARGV)

local standby = monitor_id ~= '' and forbidden_to_standby(monitor, monitor_id, "release '" .. group .. "'")
if standby then
  return standby
end
local log = open_log(revision, epoch, events, log_length)
local guard = group ~= 'hold' and redis.call('HGET', holds, group)
if not guard then
  return { integer(log.last), 0 }
end
append_event(log, { type = 'guard_released', reason = reason, actor = actor, evidence = guard })
redis.call('HDEL', holds, group)
return { integer(log.next), 1 }
