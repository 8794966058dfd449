-- Draft a change of a record: the fields to write, the event with its JSON, and the maintenance. Writes nothing.
-- `before` is the record's table, empty for a new one; `changes` are field to value; `event` is as `append_event`
-- takes it.
local function draft(log, before, changes, event)
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
  return { event = event, written = written, maintenance = after.maintenance }
end
