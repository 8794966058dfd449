-- Redis' own clock, in integer milliseconds. It stands still inside a script.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
