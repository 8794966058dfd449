-- Remove an instance that has no children.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          children      set      its children
--          siblings      set      the children of its parent
--          instances     zset     every id
--          names         hash     SCOPE:NAME to id
--          global        string   id of the one Global
--          orphans       set      ids without a parent
--          down          set      ids that are suspect or down
--          restarts      hash     its restart ledger
--          claims        zset     claimed ids
--          request       string   the answer given to this request
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          seen_parent   string   the parent the caller saw it have, '' for none
--          incarnation   integer  the incarnation the caller may remove, '' for any
--          seen_revision integer  the record's revision the caller saw, '' for any
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the removal
-- ERRORS   NOT_FOUND     there is no such instance
--          HAS_CHILDREN  it still has children
--          STALE_INCARNATION  a newer registration has taken the id
--          PRECONDITION_FAILED  the record is at another revision than the caller saw
--          CONFLICT      its parent is not the one the caller saw
-- USES     clock integer refuse record superseded incarnation encode log answer removal
local record_key, heartbeat, children, siblings, instances, names, global, orphans, down, restarts, claims, request,
  revision, epoch, events = unpack(KEYS)
local id, seen_parent, incarnation, seen_revision, reason, actor, log_length = unpack(ARGV)

local answered = earlier_answer(request)
if answered then
  return answered
end
local record, absent = read_incarnation(record_key, id, incarnation)
if absent then
  return absent
end
if record.parent_id ~= seen_parent then
  return refuse('CONFLICT', "instance '%s' has parent '%s', not '%s'", id, record.parent_id, seen_parent)
end
if seen_revision ~= '' and record.revision ~= seen_revision then
  return refuse('PRECONDITION_FAILED', "instance '%s' is at revision %s, not %s", id, record.revision, seen_revision)
end
local count = redis.call('SCARD', children)
if count > 0 then
  return refuse('HAS_CHILDREN', "%s '%s' cannot be removed: it still has children (%d)", record.scope, id, count)
end

local log = open_log(revision, epoch, events, log_length)
remove_record(log, {
  record = record_key, heartbeat = heartbeat, children = children, siblings = siblings, restarts = restarts,
  instances = instances, names = names, orphans = orphans, down = down, claims = claims,
}, record, { reason = reason, actor = actor })
if record.scope == 'global' then
  redis.call('DEL', global)
end
return keep_answer(request, { integer(log.next) })
