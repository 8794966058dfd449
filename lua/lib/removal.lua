-- Remove a record that has no children, with everything that names it but P:global: its event comes first.
-- `keys` names its own keys and the shared ones; `event` holds the reason, the actor, the evidence,
-- and the record's JSON where that is known.
local function remove_record(log, keys, record, event)
  event.type, event.id = 'deregistered', record.id
  event.record = event.record or encode_fields(FIELDS, record)
  append_event(log, event)
  redis.call('ZREM', keys.instances, record.id)
  redis.call('HDEL', keys.names, record.scope .. ':' .. record.name)
  if record.parent_id ~= '' then
    redis.call('SREM', keys.siblings, record.id)
  elseif record.scope ~= 'global' then
    redis.call('SREM', keys.orphans, record.id)
  end
  redis.call('SREM', keys.down, record.id)
  redis.call('ZREM', keys.claims, record.id)
  redis.call('UNLINK', keys.record, keys.heartbeat, keys.children, keys.restarts)
end
