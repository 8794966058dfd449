-- Why a child of this scope may not stand under that parent, as an error reply; nil where it may.
-- `parent` is the parent's record or nil; `siblings` is the set of the parent's children.
local function forbidden_parent(child_id, child_scope, parent_id, parent, siblings)
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
  local limit = tonumber(parent.max_children or '')
  if limit and redis.call('SISMEMBER', siblings, child_id) == 0 and redis.call('SCARD', siblings) >= limit then
    return refuse('SCOPE_RULE', "%s '%s' cannot have parent '%s': it has its %d children (max_children)",
      child_scope, child_id, parent_id, limit)
  end
end
