-- Milliseconds for which an instance is still in maintenance, `now` being Redis' time: 0 where it is in none, math.huge
-- where it has no end. `maintenance` is that of the record, as JSON; '' or false for none.
local function maintenance_left_ms(maintenance, now)
  if (maintenance or '') == '' then
    return 0
  end
  local until_ms = tonumber(string.match(maintenance, '"until_ms":%s*(%d+)') or '')
  return until_ms and math.max(0, until_ms - now) or math.huge
end
