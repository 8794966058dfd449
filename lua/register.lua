-- Register an instance, under a parent if one is named; an id that exists is superseded.
-- What is taken is checked last: where that is all that is wrong, a dead holder may be removed, and it be tried again.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          instances     zset     every id
--          names         hash     SCOPE:NAME to id
--          global        string   id of the one Global
--          parent        hash     the record of the parent named
--          siblings      set      the children of the parent named
--          old_siblings  set      the children of the parent it had
--          orphans       set      ids without a parent
--          down          set      ids that are suspect or down
--          request       string   the answer given to this request
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          scope         string   its scope
--          state         string   the state it starts in
--          parent_id     string   the parent named, '' to keep the one it has
--          seen_parent   string   the parent the caller saw it have, '' for none
--          takeover      string   always, if-dead, never, or the revision of the record that goes on as it stands
--          live          integer  1 where the parent named must be alive
--          actor         string   who asks
--          log_length    integer  events the log keeps
--          fields*       string   field, value, field, value: what the owner says of it
-- RETURNS  revision      integer  the revision of the registration
--          incarnation   integer  the same, until the next one
--          outcome       string   registered or superseded
--          at_ms         integer  when, by Redis' clock
-- ERRORS   INVALID       the scope, the state or a field is unknown, or the record too large
--          NOT_FOUND     there is no such parent
--          GLOBAL_EXISTS the namespace has its Global
--          NAME_TAKEN    another of its scope has the name
--          SCOPE_RULE    this scope may not stand under that one, there is no room, or it is not alive
--          LEAVING       the instance or the parent named is being removed
--          EXISTS        the id is taken and takeover forbids, or it is of another scope
--          CONFLICT      its parent is not the one the caller saw
--          PRECONDITION_FAILED  the record that is to be carried on is at another revision, or gone
-- USES     clock integer refuse record encode log draft size commit answer liveness kinship fields
local record_key, heartbeat, instances, names, global, parent_key, siblings, old_siblings, orphans, down, request,
  revision, epoch, events = unpack(KEYS)
local id, scope, state, parent_id, seen_parent, takeover, live, actor, log_length = unpack(ARGV, 1, 9)
local FIRST_FIELD = 10

local answered = earlier_answer(request)
if answered then
  return answered
end
if PARENT_SCOPE[scope] == nil then
  return refuse('INVALID', "scope is '%s', not one of global, project, orchestration", scope)
end
if MONITORED[state] == nil then
  return refuse('INVALID', "state is '%s', which is no state", state)
end
local changes, unread = read_fields(id, FIRST_FIELD)
if unread then
  return unread
end
for name, default in pairs(DEFAULTS) do
  changes[name] = changes[name] or default
end
changes.name = changes.name ~= '' and changes.name or id

local before = read_record(record_key) or {}
local exists = before.id ~= nil
local carried = tonumber(takeover) ~= nil
if carried and before.revision ~= takeover then
  return refuse('PRECONDITION_FAILED', "instance '%s' is at revision %s, not %s",
    id, before.revision or 'none', takeover)
end
if exists then
  if before.scope ~= scope then
    return refuse('EXISTS', "instance '%s' exists as a %s and cannot become a %s", id, before.scope, scope)
  end
  local alive = MONITORED[before.state] and redis.call('EXISTS', heartbeat) == 1
  if takeover == 'never' or (takeover == 'if-dead' and alive) then
    return refuse('EXISTS', "instance '%s' exists, a %s in state %s, and takeover is %s",
      id, scope, before.state, takeover)
  end
  local forbidden = forbidden_while_leaving(before, 'be registered again')
  if forbidden then
    return forbidden
  end
  if before.parent_id ~= seen_parent then
    return refuse('CONFLICT', "instance '%s' has parent '%s', not '%s'", id, before.parent_id, seen_parent)
  end
end
if parent_id ~= '' then
  local forbidden = forbidden_parent(id, scope, parent_id, read_record(parent_key), siblings, live)
  if forbidden then
    return forbidden
  end
else
  parent_id = before.parent_id or ''
end

local log = open_log(revision, epoch, events, log_length)
local outcome = exists and 'superseded' or 'registered'
local monitored = MONITORED[state]
local now = integer(log.now)
changes.id, changes.scope, changes.state, changes.parent_id = id, scope, state, parent_id
changes.health = monitored and 'healthy' or 'unknown'
changes.incarnation = integer(log.next)
changes.started_at_ms = monitored and now or ''
changes.stopped_at_ms, changes.down_at_ms, changes.leaving = '', '', ''
if not exists then
  changes.created_revision, changes.created_at_ms = integer(log.next), now
  changes.restarts, changes.flapping, changes.maintenance = '0', 'false', ''
end
local drafted = draft(log, before, changes, { type = outcome, actor = actor })
local oversized = too_large(drafted, carried)
if oversized then
  return oversized
end
if scope == 'global' then
  local holder = redis.call('GET', global)
  if holder and holder ~= id then
    return refuse('GLOBAL_EXISTS', "instance '%s' cannot be the global: '%s' is", id, holder)
  end
end
local name = scope .. ':' .. changes.name
local namesake = redis.call('HGET', names, name)
if namesake and namesake ~= id then
  return refuse('NAME_TAKEN', "%s '%s' cannot be named '%s': '%s' is", scope, id, changes.name, namesake)
end
commit(log, record_key, drafted)
redis.call('ZADD', instances, 'NX', integer(log.next), id)
if exists and before.name ~= changes.name then
  redis.call('HDEL', names, scope .. ':' .. before.name)
end
redis.call('HSET', names, name, id)
if scope == 'global' then
  redis.call('SET', global, id)
elseif parent_id == '' then
  redis.call('SADD', orphans, id)
else
  if exists and before.parent_id ~= '' and before.parent_id ~= parent_id then
    redis.call('SREM', old_siblings, id)
  end
  if before.parent_id ~= parent_id then
    redis.call('SADD', siblings, id)
  end
  redis.call('SREM', orphans, id)
end
redis.call('SREM', down, id)
if monitored then
  begin_heartbeat(heartbeat, changes.ttl_ms)
else
  redis.call('DEL', heartbeat)
end
return keep_answer(request, { integer(log.next), integer(log.next), outcome, now })
