-- End the claim that stands in a ledger, since the instance was started or stopped: what fails after that has failed
-- anew. Where its restarts were used up, a new count begins. `outcome` is what the ledger says of it, false for none.
local function end_claim(restarts, outcome)
  if outcome == 'exhausted' then
    redis.call('HSET', restarts, 'count', '0')
  end
  if outcome then
    redis.call('HDEL', restarts, 'incarnation', 'outcome', 'alive', 'revision', 'claimed_at_ms', 'not_before_ms',
      'delay_ms', 'reason', 'executor', 'executor_until_ms', 'begun', 'settled_at_ms', 'register_by_ms', 'detail')
  end
end

-- Whether a claim is to be carried out, and nobody has begun: its last executor could not, none has it, or one only
-- reserves it until its time. `outcome` is what the ledger says of it.
local function is_to_be_carried_out(restarts, outcome, now)
  if outcome ~= 'claimed' and outcome ~= 'failed' then
    return false
  end
  local ledger = redis.call('HMGET', restarts, 'begun', 'executor_until_ms')
  return ledger[1] ~= '1' or (tonumber(ledger[2]) or 0) <= now
end
