-- Write down what became of a restart, if its executor still has it. Once it is sent, the instance has its time to
-- register.
--
-- KEYS     restarts      hash     the instance's restart ledger
-- ARGV     incarnation   integer  the incarnation that was to be restarted
--          executor      string   who carried it out
--          outcome       string   sent, failed or cancelled
--          detail        string   why it failed, '' for nothing to tell
--          wait_ms       integer  how long it may take to register after it was sent
--          claimed_at_ms integer  when the claim was made that was carried out, '' for any of this incarnation
-- RETURNS  settled       integer  1 where it was written, 0 where another has it, or another claim stands
-- ERRORS
-- USES     clock integer
local restarts = unpack(KEYS)
local incarnation, executor, outcome, detail, wait_ms, claimed_at_ms = unpack(ARGV)

local ledger = redis.call('HMGET', restarts, 'incarnation', 'executor', 'claimed_at_ms')
if ledger[1] ~= incarnation or ledger[2] ~= executor or (claimed_at_ms ~= '' and ledger[3] ~= claimed_at_ms) then
  return { 0 }
end
local now = clock()
redis.call('HSET', restarts, 'outcome', outcome, 'detail', detail, 'settled_at_ms', integer(now), 'begun', '0',
  'register_by_ms', outcome == 'sent' and integer(now + tonumber(wait_ms)) or '0')
return { 1 }
