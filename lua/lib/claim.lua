-- End the claim that stands in a ledger, since the instance was started or stopped: what fails after that has failed
-- anew. Where its restarts were used up, a new count begins. `outcome` is what the ledger says of it, false for none.
local function end_claim(restarts, outcome)
  if outcome == 'exhausted' then
    redis.call('HSET', restarts, 'count', '0')
  end
  if outcome then
    redis.call('HDEL', restarts, 'incarnation', 'outcome', 'alive', 'revision', 'claimed_at_ms', 'not_before_ms',
      'delay_ms', 'reason', 'executor', 'executor_until_ms', 'settled_at_ms', 'register_by_ms', 'detail')
  end
end

-- Whether a claim is to be carried out, and nobody has begun: its last executor could not, none has it, or its time has
-- not come. `outcome` is what the ledger says of it.
local function is_to_be_carried_out(restarts, outcome, now)
  if outcome ~= 'claimed' then
    return outcome == 'failed'
  end
  local ledger = redis.call('HMGET', restarts, 'not_before_ms', 'executor', 'executor_until_ms')
  local not_before_ms, until_ms = tonumber(ledger[1]) or 0, tonumber(ledger[3]) or 0
  return (ledger[2] or '') == '' or until_ms <= now or not_before_ms > now
end
