-- End the hold: Redis works again. Each instance is still owed one TTL of working Redis.
--
-- KEYS     holds         hash     hold and guards now in force
--          monitor       string   id of the leading monitor
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     monitor_id    string   the monitor that asks
--          reason        string   why
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the end, the last one where there was no hold
-- ERRORS   NOT_LEADER    another monitor leads
-- USES     clock integer refuse leader log
local holds, monitor, revision, epoch, events = unpack(KEYS)
local monitor_id, reason, log_length = unpack(ARGV)

local standby = forbidden_to_standby(monitor, monitor_id, 'end a hold')
if standby then
  return standby
end
local log = open_log(revision, epoch, events, log_length)
local hold = redis.call('HGET', holds, 'hold')
if not hold then
  return { integer(log.last) }
end
append_event(log, { type = 'hold_ended', reason = reason, actor = 'monitor', evidence = hold })
redis.call('HDEL', holds, 'hold')
return { integer(log.next) }
