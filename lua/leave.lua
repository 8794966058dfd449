-- Mark an instance as leaving before its children are seen to: nobody joins it from then on.
--
-- KEYS     record        hash     the instance's record
--          children      set      its children
--          heir          hash     the record of the one its children move to; of the empty id for nobody
--          heir_children set      the children of that one
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          heir_id       string   the one its children move to, '' for nobody
--          leaving       string   the mark as JSON
--          token         string   the caller's request token, kept in the mark; '' for none
--          incarnation   integer  the incarnation the caller may remove, '' for any
--          seen_revision integer  the record's revision the caller saw, '' for any
--          dead          integer  1 where it must be dead: judged down, stopped or failed
--          dry           integer  1 where it is only to be told whether it could be marked
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the mark, the last one where it stood there already
--          incarnation   integer  the incarnation that is leaving
-- ERRORS   NOT_FOUND     there is no such instance, or nobody to move its children to
--          EXISTS        it is not dead
--          STALE_INCARNATION  a newer registration has taken the id
--          PRECONDITION_FAILED  the record is at another revision than the caller saw
--          SCOPE_RULE    its children cannot move there
--          LEAVING       it is being removed in another way, or the one its children should move to is
-- USES     clock integer refuse record superseded incarnation encode log draft commit kinship mark
local record_key, children, heir_key, heir_children, revision, epoch, events = unpack(KEYS)
local id, heir_id, leaving, token, incarnation, seen_revision, dead, dry, reason, actor, log_length = unpack(ARGV)

local before, absent = read_incarnation(record_key, id, incarnation)
if absent then
  return absent
end
local log = open_log(revision, epoch, events, log_length)
local present = before.leaving or ''
if is_same_mark(present, leaving) then
  return { integer(log.last), before.incarnation }
end
if present ~= '' then
  return forbidden_while_leaving(before, 'be removed in another way')
end
if seen_revision ~= '' and before.revision ~= seen_revision then
  return refuse('PRECONDITION_FAILED', "instance '%s' is at revision %s, not %s", id, before.revision, seen_revision)
end
if dead == '1' and before.health ~= 'down' and before.state ~= 'stopped' and before.state ~= 'failed' then
  return refuse('EXISTS', "instance '%s' is not dead: it is %s and %s", id, before.state, before.health)
end
if heir_id ~= '' then
  local heir = read_record(heir_key)
  if not heir then
    return refuse('NOT_FOUND', "the children of '%s' cannot move to '%s': it does not exist", id, heir_id)
  end
  if heir.scope ~= before.scope or heir_id == id then
    return refuse('SCOPE_RULE', "the children of %s '%s' cannot move to '%s': it is not another %s",
      before.scope, id, heir_id, before.scope)
  end
  local forbidden = forbidden_while_leaving(heir, "take the children of '" .. id .. "'")
  if forbidden then
    return forbidden
  end
  local limit = tonumber(heir.max_children or '')
  local wanted = redis.call('SCARD', children) + redis.call('SCARD', heir_children)
  if limit and wanted > limit then
    return refuse('SCOPE_RULE', "the children of '%s' cannot move to '%s': it would have %d, over %d (max_children)",
      id, heir_id, wanted, limit)
  end
end
if dry == '1' then
  return { integer(log.last), before.incarnation }
end
local changes = { leaving = mark_with_token(leaving, token) }
commit(log, record_key, draft(log, before, changes, { type = 'updated', reason = reason, actor = actor }))
return { integer(log.next), before.incarnation }
