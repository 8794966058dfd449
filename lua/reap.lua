-- Remove an instance that has been down for as long as its record allows, if it still is and nothing speaks for it;
-- one with children is only marked as leaving, and removed by another call once it has none. One that is failed counts
-- as down where it was when its restart was claimed, and nobody has started it. One that its policy restarts is not
-- removed before that claim: whoever restarts it has its time then.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          children      set      its children
--          siblings      set      the children of its parent
--          instances     zset     every id
--          names         hash     SCOPE:NAME to id
--          global        string   id of the one Global
--          orphans       set      ids without a parent
--          down          set      ids that are suspect or down
--          restarts      hash     its restart ledger
--          claims        zset     claimed ids
--          holds         hash     hold and guards now in force
--          monitor       string   id of the leading monitor
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          seen_parent   string   the parent the caller saw it have, '' for none
--          incarnation   integer  the incarnation that is removed
--          down_at_ms    integer  when the verdict was given that the caller saw
--          leaving       string   the mark as JSON
--          monitor_id    string   the monitor that asks, '' for whoever finishes what is marked
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  outcome       string   removed, marked, gone, alive, moved, leaving or spared (hold, maintenance, restart)
--          revision      integer  the revision of the removal or the mark, else the last one
-- ERRORS   NOT_LEADER    another monitor leads
-- USES     clock integer refuse leader record encode log draft commit removal mark liveness
local record_key, heartbeat, children, siblings, instances, names, global, orphans, down, restarts, claims, holds,
  monitor, revision, epoch, events = unpack(KEYS)
local id, seen_parent, incarnation, down_at_ms, leaving, monitor_id, reason, actor, log_length = unpack(ARGV)

local standby = monitor_id ~= '' and forbidden_to_standby(monitor, monitor_id, "remove instance '" .. id .. "'")
if standby then
  return standby
end
local log = open_log(revision, epoch, events, log_length)
local before = read_record(record_key)
if not before or before.incarnation ~= incarnation then
  return { 'gone', integer(log.last) }
end
local present = before.leaving or ''
local marked = is_same_mark(present, leaving)
if present ~= '' and not marked then
  return { 'leaving', integer(log.last) }
end
local ledger = redis.call('HMGET', restarts, 'incarnation', 'outcome', 'not_before_ms', 'executor_until_ms')
local claimed = ledger[1] == incarnation and ledger[2]
local failed_by_claim = before.state == 'failed' and before.down_at_ms ~= '' and claimed
if (before.health ~= 'down' and not failed_by_claim) or before.down_at_ms ~= down_at_ms
  or remaining_ms(heartbeat, tonumber(before.ttl_ms)) >= 0 then
  return { 'alive', integer(log.last) }
end
if (before.maintenance or '') ~= '' or redis.call('HEXISTS', holds, 'hold') == 1 then
  return { 'spared', integer(log.last) }
end
if claimed == 'claimed' and math.max(tonumber(ledger[3]), tonumber(ledger[4])) > log.now then
  return { 'spared', integer(log.last) }
end
local policy = before.health == 'down' and not marked and (before.restart or '') ~= '' and cjson.decode(before.restart)
if policy and (policy.mode or 'never') ~= 'never' and claimed ~= 'claimed' and claimed ~= 'failed' then
  return { 'spared', integer(log.last) }
end
if before.parent_id ~= seen_parent then
  return { 'moved', integer(log.last) }
end
if redis.call('SCARD', children) > 0 then
  if not marked then
    local changes = { leaving = mark_with_token(leaving, '') }
    commit(log, record_key, draft(log, before, changes, { type = 'updated', reason = reason, actor = actor }))
  end
  return { 'marked', integer(marked and log.last or log.next) }
end
remove_record(log, {
  record = record_key, heartbeat = heartbeat, children = children, siblings = siblings, restarts = restarts,
  instances = instances, names = names, orphans = orphans, down = down, claims = claims,
}, before, {
  reason = reason, actor = actor,
  evidence = string.format('{"down_at_ms":%.0f,"down_ms":%.0f}', down_at_ms, log.now - down_at_ms),
})
if before.scope == 'global' then
  redis.call('DEL', global)
end
return { 'removed', integer(log.next) }
