-- Take an instance out of service until a time, or until it is taken back.
--
-- KEYS     record        hash     the instance's record
--          request       string   the answer given to this request
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          why           string   why it is out of service, kept in its record
--          until_ms      integer  until when, by Redis' clock; '' for no end
--          for_ms        integer  for how long from now instead; '' for none
--          reason        string   why, for the log
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the change, the last one where it stood so already
-- ERRORS   NOT_FOUND     there is no such instance
--          INVALID       the time has passed, or the record would be too large
-- USES     clock integer refuse record encode log draft commit answer
local record_key, request, revision, epoch, events = unpack(KEYS)
local id, why, until_ms, for_ms, reason, actor, log_length = unpack(ARGV)

local answered = earlier_answer(request)
if answered then
  return answered
end
local before = read_record(record_key)
if not before then
  return refuse('NOT_FOUND', "there is no instance '%s'", id)
end
local log = open_log(revision, epoch, events, log_length)
local ends_ms = for_ms ~= '' and integer(log.now + tonumber(for_ms)) or until_ms
local maintenance = string.format('{"reason":%s,"until_ms":%s}', cjson.encode(why), ends_ms ~= '' and ends_ms or 'null')
if before.maintenance == maintenance then
  return { integer(log.last) }
end
if ends_ms ~= '' and tonumber(ends_ms) <= log.now then
  return refuse('INVALID', "until_ms of instance '%s' is %s, which has passed: it is %.0f", id, ends_ms, log.now)
end
local drafted = draft(log, before, { maintenance = maintenance }, { type = 'updated', reason = reason, actor = actor })
local size = #drafted.event.record
if size > MAX_RECORD_BYTES then
  return refuse('INVALID', "instance '%s' has a record of %d bytes with this reason, and at most %d are stored",
    id, size, MAX_RECORD_BYTES)
end
commit(log, record_key, drafted)
return keep_answer(request, { integer(log.next) })
