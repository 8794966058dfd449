-- Why a drafted change may not be made, as an error reply: the record would be too large; nil where it fits.
-- What an owner says leaves a reserve, so that the registry's own fields always find room below the limit; what an
-- operator says of its maintenance counts nothing here: it may keep nobody from registering again.
-- What its owner had said already (`carried`) has the reserve too: a parent or a wish may have been added since.
local function too_large(drafted, carried)
  local event = drafted.event
  local limit = MAX_RECORD_BYTES - (carried and 0 or RECORD_RESERVE_BYTES)
  local size = #event.record - #drafted.maintenance
  if size > limit then
    return refuse('INVALID', "instance '%s' has a record of %d bytes, and at most %d are stored",
      event.id, size, limit)
  end
end
