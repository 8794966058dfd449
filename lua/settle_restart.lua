-- Write down what became of a restart, if its executor still has it.
--
-- KEYS     restarts      hash     the instance's restart ledger
-- ARGV     incarnation   integer  the incarnation that was to be restarted
--          executor      string   who carried it out
--          outcome       string   sent, failed or cancelled
-- RETURNS  settled       integer  1 where it was written, 0 where another has it, or another claim stands
-- ERRORS
-- USES
local restarts = unpack(KEYS)
local incarnation, executor, outcome = unpack(ARGV)

local ledger = redis.call('HMGET', restarts, 'incarnation', 'executor')
if ledger[1] ~= incarnation or ledger[2] ~= executor then
  return { 0 }
end
redis.call('HSET', restarts, 'outcome', outcome)
return { 1 }
