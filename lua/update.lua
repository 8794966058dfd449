-- Change what an owner says of an instance: its name, address, tags and the like.
--
-- KEYS     record        hash     the instance's record
--          names         hash     SCOPE:NAME to id
--          request       string   the answer given to this request
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          seen_revision integer  the record's revision the caller saw, '' for any
--          actor         string   who asks
--          log_length    integer  events the log keeps
--          fields*       string   field, value, field, value: the new values
-- RETURNS  revision      integer  the revision of the change, the last one where nothing changed
-- ERRORS   NOT_FOUND     there is no such instance
--          INVALID       a field that has no value of its owner's, or the record too large
--          NAME_TAKEN    another of its scope has the name
--          CONFLICT      the record is at another revision than the caller saw
-- USES     clock integer refuse record encode log draft size commit answer fields
local record_key, names, request, revision, epoch, events = unpack(KEYS)
local id, seen_revision, actor, log_length = unpack(ARGV, 1, 4)
local FIRST_FIELD = 5

local answered = earlier_answer(request)
if answered then
  return answered
end
local before = read_record(record_key)
if not before then
  return refuse('NOT_FOUND', "there is no instance '%s'", id)
end
if seen_revision ~= '' and before.revision ~= seen_revision then
  return refuse('CONFLICT', "instance '%s' is at revision %s, not %s", id, before.revision, seen_revision)
end
local changes, unread = read_fields(id, FIRST_FIELD)
if unread then
  return unread
end
local differs = false
for name, value in pairs(changes) do
  differs = differs or before[name] ~= value
end
local log = open_log(revision, epoch, events, log_length)
if not differs then
  return { integer(log.last) }
end
if changes.name == '' then
  changes.name = id
end
local name = changes.name or before.name
local namesake = redis.call('HGET', names, before.scope .. ':' .. name)
if namesake and namesake ~= id then
  return refuse('NAME_TAKEN', "%s '%s' cannot be named '%s': '%s' is", before.scope, id, name, namesake)
end
local drafted = draft(log, before, changes, { type = 'updated', actor = actor })
local oversized = too_large(drafted)
if oversized then
  return oversized
end
commit(log, record_key, drafted)
if name ~= before.name then
  redis.call('HDEL', names, before.scope .. ':' .. before.name)
  redis.call('HSET', names, before.scope .. ':' .. name, id)
end
return keep_answer(request, { integer(log.next) })
