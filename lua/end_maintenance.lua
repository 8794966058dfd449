-- Put an instance back into service, if it is in maintenance.
--
-- KEYS     record        hash     the instance's record
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          due           integer  1 where only a maintenance is ended whose time has passed, by Redis' clock
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the change, the last one where there was nothing to end
-- ERRORS   NOT_FOUND     there is no such instance
-- USES     clock integer refuse record encode log draft commit service
local record_key, revision, epoch, events = unpack(KEYS)
local id, due, reason, actor, log_length = unpack(ARGV)

local before = read_record(record_key)
if not before then
  return refuse('NOT_FOUND', "there is no instance '%s'", id)
end
local log = open_log(revision, epoch, events, log_length)
if (before.maintenance or '') == '' or (due == '1' and maintenance_left_ms(before.maintenance, log.now) > 0) then
  return { integer(log.last) }
end
commit(log, record_key, draft(log, before, { maintenance = '' }, { type = 'updated', reason = reason, actor = actor }))
return { integer(log.next) }
