-- Whether the mark of a record is this one: a request token may follow what it says.
local function is_same_mark(present, leaving)
  return present ~= '' and string.sub(present, 1, #leaving - 1) == string.sub(leaving, 1, -2)
end

-- A mark with the request token of whoever began, so that whoever finishes answers that request.
local function mark_with_token(leaving, token)
  return string.sub(leaving, 1, -2) .. ',"token":' .. (token == '' and 'null' or cjson.encode(token)) .. '}'
end
