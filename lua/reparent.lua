-- Move children of one parent to another of the same scope, or make them orphans; what meanwhile moved is left.
--
-- KEYS     parent        hash     the record of the parent they go to; of the empty id for orphans
--          siblings      set      the children of that parent
--          old_siblings  set      the children of the parent they have
--          orphans       set      ids without a parent
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
--          children*     hash     the children's records
-- ARGV     seen_parent   string   the parent the caller saw them have
--          parent_id     string   the parent they go to, '' for orphans
--          wish          string   what orphans look for from now on, as JSON; '' for what they looked for before
--          keep          integer  1 where only those look for it that looked for nothing before
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  outcomes*     string   of each: moved, gone, elsewhere or refused (as the first would be with an error)
-- ERRORS   NOT_FOUND     there is no such parent
--          SCOPE_RULE    their scope may not stand under that one, or there is no room
--          LEAVING       that parent is being removed
-- USES     clock integer refuse record encode log draft commit kinship
local parent_key, siblings, old_siblings, orphans, revision, epoch, events = unpack(KEYS, 1, 7)
local seen_parent, parent_id, wish, keep, reason, actor, log_length = unpack(ARGV)
local FIRST_CHILD = 8

local log = open_log(revision, epoch, events, log_length)
local parent = parent_id ~= '' and read_record(parent_key) or nil
local outcomes = {}
for i = FIRST_CHILD, #KEYS do
  local child = read_record(KEYS[i])
  local outcome = 'moved'
  if not child then
    outcome = 'gone'
  elseif child.parent_id ~= seen_parent then
    outcome = 'elsewhere'
  else
    if parent_id ~= '' then
      local forbidden = forbidden_parent(child.id, child.scope, parent_id, parent, siblings, '0')
      if forbidden and i == FIRST_CHILD then
        return forbidden
      end
      outcome = forbidden and 'refused' or outcome
    end
  end
  if outcome == 'moved' then
    local wished = wish ~= '' and (keep ~= '1' or (child.wish or '') == '')
    local changes = { parent_id = parent_id, wish = wished and wish or nil }
    commit(log, KEYS[i], draft(log, child, changes, { type = 'parent_changed', reason = reason, actor = actor }))
    log.next = log.next + 1
    redis.call('SREM', old_siblings, child.id)
    if parent_id == '' then
      redis.call('SADD', orphans, child.id)
    else
      redis.call('SADD', siblings, child.id)
    end
  end
  outcomes[#outcomes + 1] = outcome
end
return outcomes
