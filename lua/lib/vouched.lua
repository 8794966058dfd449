-- Whether a heartbeat's value was written by a check, not by the instance itself.
local function written_by_check(value)
  return string.sub(value or '', 1, 9) == '{"check":'
end
