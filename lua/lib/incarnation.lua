-- Read the record of an incarnation, '' being any; nil and an error reply where it is not there.
local function read_incarnation(record_key, id, incarnation)
  local record = read_record(record_key)
  if not record then
    return nil, refuse('NOT_FOUND', "there is no instance '%s'", id)
  end
  local stale = incarnation ~= '' and superseded(id, record.incarnation, incarnation)
  if stale then
    return nil, stale
  end
  return record
end
