-- Put a child under a parent, leaving the parent it had; the event names both.
--
-- KEYS     child         hash     the child's record
--          parent        hash     the parent's record
--          siblings      set      the children of the parent
--          old_siblings  set      the children of the parent it had
--          orphans       set      ids without a parent
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     child_id      string   the child
--          parent_id     string   the parent
--          seen_parent   string   the parent the caller saw it have, '' for none
--          seen_revision integer  the child's revision the caller saw, '' for any
--          live          integer  1 where the parent must be alive
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the move, the last one where it stood there already
-- ERRORS   NOT_FOUND     there is no such child or parent
--          SCOPE_RULE    this scope may not stand under that one, there is no room, or it is not alive
--          LEAVING       the child or the parent is being removed
--          CONFLICT      the child has moved, or changed, since the caller looked
-- USES     clock integer refuse record encode log draft commit kinship
local child_key, parent_key, siblings, old_siblings, orphans, revision, epoch, events = unpack(KEYS)
local child_id, parent_id, seen_parent, seen_revision, live, actor, log_length = unpack(ARGV)

local child = read_record(child_key)
if not child then
  return refuse('NOT_FOUND', "there is no instance '%s' to put under '%s'", child_id, parent_id)
end
if seen_revision ~= '' and child.revision ~= seen_revision then
  return refuse('CONFLICT', "instance '%s' is at revision %s, not %s", child_id, child.revision, seen_revision)
end
local log = open_log(revision, epoch, events, log_length)
if child.parent_id == parent_id then
  return { integer(log.last) }
end
local forbidden = forbidden_parent(child_id, child.scope, parent_id, read_record(parent_key), siblings, live)
  or forbidden_while_leaving(child, "move to '" .. parent_id .. "'")
if forbidden then
  return forbidden
end
if child.parent_id ~= seen_parent then
  return refuse('CONFLICT', "instance '%s' has parent '%s', not '%s'", child_id, child.parent_id, seen_parent)
end
commit(log, child_key, draft(log, child, { parent_id = parent_id }, { type = 'parent_changed', actor = actor }))
if seen_parent == '' then
  redis.call('SREM', orphans, child_id)
else
  redis.call('SREM', old_siblings, child_id)
end
redis.call('SADD', siblings, child_id)
return { integer(log.next) }
