-- Take a child from its parent: it becomes an orphan without a wish, so that nobody adopts it again by itself.
--
-- KEYS     child         hash     the child's record
--          siblings      set      the children of the parent it has
--          orphans       set      ids without a parent
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     child_id      string   the child
--          seen_parent   string   the parent the caller saw it have, '' for none
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the change, the last one where it was an orphan without a wish
-- ERRORS   NOT_FOUND     there is no such child
--          SCOPE_RULE    the global has no parent to be taken from
--          LEAVING       the child is being removed
--          CONFLICT      the child has moved since the caller looked
-- USES     clock integer refuse record encode log draft commit kinship
local child_key, siblings, orphans, revision, epoch, events = unpack(KEYS)
local child_id, seen_parent, actor, log_length = unpack(ARGV)

local child = read_record(child_key)
if not child then
  return refuse('NOT_FOUND', "there is no instance '%s' to take from its parent", child_id)
end
if PARENT_SCOPE[child.scope] == false then
  return refuse('SCOPE_RULE', "%s '%s' cannot be taken from a parent: it never has one", child.scope, child_id)
end
local log = open_log(revision, epoch, events, log_length)
if child.parent_id == '' and child.wish == '' then
  return { integer(log.last) }
end
if child.parent_id ~= seen_parent then
  return refuse('CONFLICT', "instance '%s' has parent '%s', not '%s'", child_id, child.parent_id, seen_parent)
end
local forbidden = forbidden_while_leaving(child, 'be taken from its parent')
if forbidden then
  return forbidden
end
local kind = child.parent_id == '' and 'updated' or 'parent_changed'
commit(log, child_key, draft(log, child, { parent_id = '', wish = '' }, { type = kind, actor = actor }))
redis.call('SREM', siblings, child_id)
redis.call('SADD', orphans, child_id)
return { integer(log.next) }
