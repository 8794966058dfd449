-- The times of an instance's last recoveries from down, oldest first, as its ledger holds them: those of the last
-- `window_ms`, at most `count` of them.
local function recent_flaps(key, count, window_ms, now)
  local kept, known = {}, {}
  local read, noted = pcall(cjson.decode, redis.call('HGET', key, 'flaps') or '[]')
  if read and type(noted) == 'table' then
    known = noted
  end
  for i = math.max(1, #known - count + 1), #known do
    local at_ms = tonumber(known[i])
    if at_ms and at_ms <= now and at_ms > now - window_ms then
      kept[#kept + 1] = integer(at_ms)
    end
  end
  return kept
end
