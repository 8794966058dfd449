-- JSON of one field's value as the hash holds it. Only strings meet cjson: an empty table has no certain form there.
local function encode_value(name, value)
  if value == nil or value == '' then
    return 'null'
  end
  if TEXT_FIELDS[name] or (MIXED_FIELDS[name] and string.sub(value, 1, 1) ~= '{') then
    return cjson.encode(value)
  end
  return value
end

-- JSON object of the given fields of a record, in their order.
local function encode_fields(names, record)
  local parts = {}
  for i, name in ipairs(names) do
    parts[i] = '"' .. name .. '":' .. encode_value(name, record[name])
  end
  return '{' .. table.concat(parts, ',') .. '}'
end
