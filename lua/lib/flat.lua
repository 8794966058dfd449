-- A function that makes JSON of a whole record from its hash as HGETALL answers it. It answers nil where the hash has
-- not all fields in their order: then a table of them has to be made, which takes longer.
local function flat_encoder()
  local heads, parts = {}, {}
  for i, name in ipairs(FIELDS) do
    heads[i] = (i == 1 and '{"' or ',"') .. name .. '":'
  end
  return function(flat)
    if #flat ~= 2 * #FIELDS then
      return nil
    end
    for i, name in ipairs(FIELDS) do
      if flat[2 * i - 1] ~= name then
        return nil
      end
      parts[2 * i - 1], parts[2 * i] = heads[i], encode_value(name, flat[2 * i])
    end
    parts[2 * #FIELDS + 1] = '}'
    return table.concat(parts)
  end
end

-- The fields that name a record and its place (they come first), from such a hash.
local function flat_place(flat)
  return { id = flat[2], name = flat[4], scope = flat[6], parent_id = flat[8] }
end
