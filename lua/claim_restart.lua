-- Claim the one restart of an incarnation, or tell that its restarts are used up. The first to ask is answered.
-- An operator's claim takes the place of one that others have made. One that was sent, and after which an instance that
-- is failed or down has not registered in its time, was in vain: it is claimed anew. Where more than twice that time is
-- left the clock was set back, and the time counts as over. One that was made while the instance lived, and was given
-- up, is none for its death.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          down          set      ids that are suspect or down
--          restarts      hash     its restart ledger
--          monitor       string   id of the leading monitor
--          request       string   the answer given to this request
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          incarnation   integer  the incarnation that is to be restarted
--          outcome       string   claimed or exhausted
--          seen_count    integer  the ledger's count as the caller saw it
--          count         integer  what it becomes
--          max_restarts  integer  what the policy allows
--          delay_ms      integer  milliseconds before which it may not be restarted
--          mode          string   the policy's mode
--          alive         integer  1 where it may be claimed, not exhausted, though the instance has not failed
--          operator      integer  1 where an operator asks: in maintenance too, and over another claim
--          monitor_id    string   the monitor that asks, '' for anyone else
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  outcome       string   claimed, exhausted or repeat
--          revision      integer  the revision of the claim, the last one where it stood there already
--          count         integer  the ledger's count
--          not_before_ms integer  when it may be restarted, by Redis' clock
-- ERRORS   NOT_FOUND     there is no such instance
--          STALE_INCARNATION  a newer registration has taken the id
--          NOT_LEADER    another monitor leads
--          LEAVING       the instance is being removed
--          ILLEGAL_TRANSITION  it has not failed, or is in maintenance
--          CONFLICT      another claim was made since the caller looked
-- USES     clock integer refuse leader record superseded incarnation encode log draft commit answer kinship service
local record_key, heartbeat, down, restarts, monitor, request, revision, epoch, events = unpack(KEYS)
local id, incarnation, outcome, seen_count, count, max_restarts, delay_ms, mode, alive, operator, monitor_id, reason,
  actor, log_length = unpack(ARGV)

local answered = earlier_answer(request)
if answered then
  return answered
end
local before, absent = read_incarnation(record_key, id, incarnation)
if absent then
  return absent
end
local standby = monitor_id ~= '' and forbidden_to_standby(monitor, monitor_id, "claim the restart of '" .. id .. "'")
if standby then
  return standby
end
local ledger = redis.call('HMGET', restarts, 'incarnation', 'outcome', 'count', 'not_before_ms', 'reason',
  'settled_at_ms', 'register_by_ms', 'alive')
local is_down = MONITORED[before.state] and before.health == 'down'
local log = open_log(revision, epoch, events, log_length)
local in_vain = false
if ledger[1] == incarnation and ledger[2] then
  local asked_before = ledger[5] == 'operator' and ledger[2] == 'claimed'
  local register_by_ms = tonumber(ledger[7]) or 0
  local left_ms, time_ms = register_by_ms - log.now, register_by_ms - (tonumber(ledger[6]) or 0)
  local dead = is_down or before.state == 'failed'
  local over = left_ms <= 0 or left_ms > 2 * time_ms
  in_vain = dead and ledger[2] == 'sent' and register_by_ms > 0 and over
  local given_up = dead and ledger[2] == 'cancelled' and ledger[8] == '1'
  if not (in_vain or given_up) and (operator ~= '1' or asked_before) then
    return { 'repeat', integer(log.last), ledger[3], ledger[4] }
  end
end
local forbidden = forbidden_while_leaving(before, 'be restarted')
if forbidden then
  return forbidden
end
local exhausted = outcome == 'exhausted'
local lapsed = is_down and redis.call('EXISTS', heartbeat) == 0
if (alive ~= '1' or exhausted)
  and not (before.state == 'failed' or lapsed or (before.state == 'stopped' and mode == 'always')) then
  return refuse('ILLEGAL_TRANSITION', "instance '%s' cannot be restarted by its policy: it is %s and %s",
    id, before.state, before.health)
end
if operator ~= '1' and maintenance_left_ms(before.maintenance, log.now) > 0 then
  return refuse('ILLEGAL_TRANSITION', "instance '%s' cannot be restarted by its policy: it is in maintenance", id)
end
if (ledger[3] or '0') ~= seen_count then
  return refuse('CONFLICT', "instance '%s' has had %s restarts, not %s", id, ledger[3] or '0', seen_count)
end

local not_before = integer(log.now + (exhausted and 0 or tonumber(delay_ms)))
local changes = {}
if not exhausted then
  changes.restarts = integer(tonumber(before.restarts) + 1)
end
if is_down or (exhausted and before.state == 'stopped') then
  changes.state, changes.health = 'failed', 'unknown'
end
if is_down then
  changes.stopped_at_ms = integer(log.now)
end
commit(log, record_key, draft(log, before, changes, {
  type = exhausted and 'restart_exhausted' or 'restart_claimed', reason = reason, actor = actor,
  evidence = string.format(
    '{"count":%d,"max_restarts":%d,"delay_ms":%d,"not_before_ms":%s,"incarnation":%s,"mode":%s%s}',
    count, max_restarts, exhausted and 0 or delay_ms, not_before, incarnation, cjson.encode(mode),
    in_vain and ledger[8] ~= '1' and string.format(',"sent_at_ms":%s,"register_by_ms":%s', ledger[6], ledger[7]) or ''),
}))
if is_down then
  redis.call('DEL', heartbeat)
  redis.call('SREM', down, id)
end
redis.call('HSET', restarts, 'count', count, 'incarnation', incarnation, 'claimed_at_ms', integer(log.now),
  'not_before_ms', not_before, 'delay_ms', exhausted and '0' or delay_ms, 'reason', reason,
  'executor', '', 'executor_until_ms', '0', 'begun', '0', 'settled_at_ms', '0', 'register_by_ms', '0', 'detail', '',
  'outcome', outcome, 'revision', integer(log.next), 'alive', MONITORED[before.state] and not is_down and '1' or '0')
return keep_answer(request, { outcome, integer(log.next), count, not_before })
