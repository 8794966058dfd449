-- Take a claimed restart to carry it out: one executor has it at a time, and another may take it once its lease ends.
-- The executor that has it renews its lease so. In maintenance nobody begins a restart that no operator has asked for:
-- ask again after a lease. A clock that was set back delays nothing for longer than the claim said.
--
-- KEYS     record        hash     the instance's record
--          restarts      hash     its restart ledger
-- ARGV     incarnation   integer  the incarnation that is to be restarted
--          executor      string   who carries it out
--          lease_ms      integer  how long nobody else may, from now or from when it may be restarted
--          early         integer  1 to take it though it may not be restarted yet
--          claimed_at_ms integer  when the claim was made that the executor means, '' for any of this incarnation
-- RETURNS  outcome       string   taken, early, held or ended
--          left_ms       integer  until it may be restarted (taken, early), or until the other's lease ends (held)
-- ERRORS
-- USES     clock integer service
local record, restarts = unpack(KEYS)
local incarnation, executor, lease_ms, early, claimed_at_ms = unpack(ARGV)

local ledger = redis.call('HMGET', restarts, 'incarnation', 'outcome', 'not_before_ms', 'executor', 'executor_until_ms',
  'claimed_at_ms', 'delay_ms', 'reason')
local held = redis.call('HMGET', record, 'incarnation', 'maintenance')
if held[1] ~= incarnation or ledger[1] ~= incarnation
  or (ledger[2] ~= 'claimed' and ledger[2] ~= 'failed') or (claimed_at_ms ~= '' and ledger[6] ~= claimed_at_ms) then
  return { 'ended', 0 }
end
local now = clock()
local longest_ms = math.max(0, tonumber(ledger[7]) or (tonumber(ledger[3]) - tonumber(ledger[6])))
local wait_ms = math.max(0, tonumber(ledger[3]) - now)
if wait_ms > longest_ms then
  wait_ms = longest_ms
  redis.call('HSET', restarts, 'not_before_ms', integer(now + wait_ms), 'delay_ms', integer(longest_ms))
end
local left_ms = tonumber(ledger[5]) - now
local begun = early ~= '1' and ledger[4] == executor and left_ms > 0
if ledger[8] ~= 'operator' and not begun then
  wait_ms = math.max(wait_ms, math.min(maintenance_left_ms(held[2], now), tonumber(lease_ms)))
end
if wait_ms > 0 and early ~= '1' then
  return { 'early', wait_ms }
end
if ledger[4] ~= '' and ledger[4] ~= executor and left_ms > 0 then
  if left_ms > longest_ms + lease_ms then
    left_ms = longest_ms + tonumber(lease_ms)
    redis.call('HSET', restarts, 'executor_until_ms', integer(now + left_ms))
  end
  return { 'held', left_ms }
end
redis.call('HSET', restarts, 'executor', executor, 'executor_until_ms', integer(now + wait_ms + lease_ms),
  'begun', wait_ms > 0 and '0' or '1')
return { 'taken', wait_ms }
