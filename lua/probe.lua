-- Read the remaining time of heartbeats whose deadline has passed; the gone ones are deleted and announced by it.
--
-- KEYS     heartbeats*   string   the heartbeats, in runs of the same TTL
-- ARGV     runs*         integer  length, ttl_ms, length, ttl_ms: the runs
-- RETURNS  now_ms        integer  Redis' clock
--          left_ms*      integer  what remains of each, -2 for a gone one
-- ERRORS
-- USES     clock liveness
local answer = { clock() }
local position = 0
for i = 1, #ARGV, 2 do
  local ttl_ms = tonumber(ARGV[i + 1])
  for _ = 1, tonumber(ARGV[i]) do
    position = position + 1
    answer[position + 1] = remaining_ms(KEYS[position], ttl_ms)
  end
end
return answer
