-- End the claim that stands in a ledger, since the instance was started: what fails after that has failed anew. Where
-- its restarts were used up, a new count begins. `outcome` is what the ledger said of it before, false for no claim.
local function end_claim(restarts, outcome)
  if outcome == 'exhausted' then
    redis.call('HSET', restarts, 'count', '0')
  end
  if outcome then
    redis.call('HDEL', restarts, 'incarnation', 'outcome', 'alive', 'revision', 'claimed_at_ms', 'not_before_ms',
      'delay_ms', 'reason', 'executor', 'executor_until_ms', 'settled_at_ms', 'register_by_ms', 'detail')
  end
end
