-- Why nobody may touch the place of an instance in the tree, as an error reply: it is being removed; nil where one may.
local function forbidden_while_leaving(record, what)
  if (record.leaving or '') ~= '' then
    return refuse('LEAVING', "%s '%s' cannot %s: it is being removed", record.scope, record.id, what)
  end
end

-- Why a child of this scope may not stand under that parent, as an error reply; nil where it may.
-- `parent` is the parent's record or nil; `siblings` is the set of the parent's children; `live` asks for a live
-- parent.
local function forbidden_parent(child_id, child_scope, parent_id, parent, siblings, live)
  if not parent then
    return refuse('NOT_FOUND', "instance '%s' cannot be the parent of '%s': it does not exist", parent_id, child_id)
  end
  local wanted = PARENT_SCOPE[child_scope]
  if wanted ~= parent.scope then
    local rule = wanted and ('its parent is a ' .. wanted) or 'the global has no parent'
    local article = parent.scope == 'orchestration' and 'an' or 'a'
    return refuse('SCOPE_RULE', "%s '%s' cannot have parent '%s', %s %s: %s",
      child_scope, child_id, parent_id, article, parent.scope, rule)
  end
  local forbidden = forbidden_while_leaving(parent, "become the parent of '" .. child_id .. "'")
  if forbidden then
    return forbidden
  end
  if live == '1' and not (MONITORED[parent.state] and ALIVE[parent.health]) then
    return refuse('SCOPE_RULE', "%s '%s' cannot have parent '%s': it is %s and %s (require_live_parent)",
      child_scope, child_id, parent_id, parent.state, parent.health)
  end
  local limit = tonumber(parent.max_children or '')
  if limit and redis.call('SISMEMBER', siblings, child_id) == 0 and redis.call('SCARD', siblings) >= limit then
    return refuse('SCOPE_RULE', "%s '%s' cannot have parent '%s': it has its %d children (max_children)",
      child_scope, child_id, parent_id, limit)
  end
end
