-- Why nobody may speak for an incarnation any more, as an error reply: a newer registration has taken the id; nil where
-- it is the present one.
local function superseded(id, present, incarnation)
  if present ~= incarnation then
    return refuse('STALE_INCARNATION', "instance '%s' is incarnation %s now, not %s", id, present, incarnation)
  end
end
