-- Why a drafted change may not be made, as an error reply: the record would be too large; nil where it fits.
-- What an owner says leaves a reserve, so that the registry's own fields always find room below the limit.
local function too_large(drafted)
  local event = drafted.event
  local limit = MAX_RECORD_BYTES - RECORD_RESERVE_BYTES
  if #event.record > limit then
    return refuse('INVALID', "instance '%s' has a record of %d bytes, and at most %d are stored",
      event.id, #event.record, limit)
  end
end
