-- The shape of a field's text in the hash, by its kind; what has no shape is plain text.
local SHAPES = { integer = '^%d+$', flag = '^[tf]', list = '^%[', object = '^{' }

-- Whether a field's text would not be read again as a field of its kind.
local function unreadable(kind, value)
  if kind == 'address' then
    kind = string.sub(value, 1, 1) == '{' and 'object' or 'text'
  end
  local shape = SHAPES[kind]
  if not shape then
    return false
  end
  if not string.find(value, shape) or (kind == 'integer' and #value > 15) then
    return true
  end
  return not pcall(cjson.decode, value)
end

-- The fields that the arguments from `first` on name, in pairs, as a table; an empty one gets its default.
-- Answers nil and an error reply where one is unknown, without a value, or not of its kind.
local function read_fields(id, first)
  local fields = {}
  for i = first, #ARGV, 2 do
    local name, value = ARGV[i], ARGV[i + 1]
    local kind = FIELD_KINDS[name]
    if not kind then
      return nil, refuse('INVALID', "'%s' of instance '%s' is no field of its owner's", name, id)
    end
    if value == nil or (value ~= '' and unreadable(kind, value)) then
      return nil, refuse('INVALID', "%s of instance '%s' is '%s', which is no %s",
        name, id, string.sub(value or '', 1, 100), kind)
    end
    fields[name] = value ~= '' and value or DEFAULTS[name]
  end
  local ttl_ms = tonumber(fields.ttl_ms)
  if fields.ttl_ms and not (ttl_ms and ttl_ms >= MIN_TTL_MS and ttl_ms <= MAX_TTL_MS) then
    return nil, refuse('INVALID', "ttl_ms of instance '%s' is '%s', not in %d..%d",
      id, fields.ttl_ms, MIN_TTL_MS, MAX_TTL_MS)
  end
  return fields
end
