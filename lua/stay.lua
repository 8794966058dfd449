-- Take the mark of an instance back that was to be removed, if it is still this one.
--
-- KEYS     record        hash     the instance's record
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          leaving       string   the mark as JSON
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the change, the last one where there was no such mark
-- ERRORS   NOT_FOUND     there is no such instance
-- USES     clock integer refuse record encode log draft commit mark
local record_key, revision, epoch, events = unpack(KEYS)
local id, leaving, reason, actor, log_length = unpack(ARGV)

local before = read_record(record_key)
if not before then
  return refuse('NOT_FOUND', "there is no instance '%s'", id)
end
local log = open_log(revision, epoch, events, log_length)
if not is_same_mark(before.leaving or '', leaving) then
  return { integer(log.last) }
end
commit(log, record_key, draft(log, before, { leaving = '' }, { type = 'updated', reason = reason, actor = actor }))
return { integer(log.next) }
