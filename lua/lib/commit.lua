-- Change a record: append its event, then write the fields that differ. The only way a record changes.
-- `before` is the record's table, empty for a new one; `changes` are field to value; `event` as `append_event` takes it.
-- Returns an error reply, with nothing written, where the record would be too large; nil otherwise.
local function commit(log, key, before, changes, event)
  local after, written, changed = {}, {}, {}
  changes.revision = integer(log.next)
  changes.updated_at_ms = integer(log.now)
  for _, name in ipairs(FIELDS) do
    local old, new = before[name] or '', changes[name]
    after[name] = new or old
    if new and (new ~= old or not before[name]) then
      written[#written + 1] = name
      written[#written + 1] = new
      if name ~= 'revision' and name ~= 'updated_at_ms' and before.id then
        changed[#changed + 1] = name
      end
    end
  end
  event.id = after.id
  event.record = encode_fields(FIELDS, after)
  event.previous = encode_fields(changed, before)
  if #event.record > MAX_RECORD_BYTES then
    return refuse('INVALID', "instance '%s' has a record of %d bytes, and at most %d are stored",
      after.id, #event.record, MAX_RECORD_BYTES)
  end
  append_event(log, event)
  redis.call('HSET', key, unpack(written))
end
