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
-- USES     clock integer refuse log
local holds, monitor, revision, epoch, events = unpack(KEYS)
local monitor_id, group, reason, evidence, log_length = unpack(ARGV)

local leader = redis.call('GET', monitor) or ''
if leader ~= monitor_id then
  return refuse('NOT_LEADER', "'%s' cannot guard '%s': '%s' leads", monitor_id, group, leader)
end
local log = open_log(revision, epoch, events, log_length)
if redis.call('HEXISTS', holds, group) == 1 then
  return { integer(log.last) }
end
append_event(log, { type = 'guard_raised', reason = reason, actor = 'monitor', evidence = evidence })
redis.call('HSET', holds, group, evidence)
return { integer(log.next) }
