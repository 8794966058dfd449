-- Let the first heartbeat begin: the key exists for one TTL from now.
local function begin_heartbeat(key, ttl_ms)
  redis.call('SET', key, '{}', 'PX', ttl_ms)
end

-- The remaining milliseconds of a heartbeat, -2 when it is gone. Reading an expired key deletes and announces it.
-- One without TTL, or above ten times the record's, is cut to the record's TTL: nobody may be immortal by mistake.
local function remaining_ms(key, ttl_ms)
  local left = redis.call('PTTL', key)
  if left == -1 or left > 10 * ttl_ms then
    redis.call('PEXPIRE', key, ttl_ms)
    left = ttl_ms
  end
  return left
end
