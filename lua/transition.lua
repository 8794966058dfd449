-- Carry an instance from one state to another by a verb of the table. Who is started by hand is restarted: the claim of
-- a restart ends with it, and a count that was used up begins anew. When that was is noted for a Project: of its
-- children count those that are given up after it. Who is asked to stop is not restarted after that: the claim ends
-- too, unless somebody is carrying it out, which may be why it stops.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          down          set      ids that are suspect or down
--          restarts      hash     its restart ledger
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          verb          string   start, run, pause, resume, stop, stopped or fail
--          incarnation   integer  the incarnation the caller speaks for, '' for any
--          expected      string   the state the caller expects it to be in, '' for any
--          reason        string   why
--          actor         string   who asks
--          evidence      string   the figures behind it as a JSON object, as the exit code
--          log_length    integer  events the log keeps
-- RETURNS  revision      integer  the revision of the change, the last one where the state was there already
-- ERRORS   NOT_FOUND     there is no such instance
--          INVALID       there is no such verb
--          STALE_INCARNATION  a newer registration has taken the id
--          PRECONDITION_FAILED  it is in another state than the caller expects
--          ILLEGAL_TRANSITION  the state has no such verb
-- USES     clock integer refuse record superseded incarnation encode log draft commit liveness claim
local record_key, heartbeat, down, restarts, revision, epoch, events = unpack(KEYS)
local id, verb, incarnation, expected, reason, actor, evidence, log_length = unpack(ARGV)

local rule = TRANSITIONS[verb]
if not rule then
  return refuse('INVALID', "verb is '%s', which no state knows", verb)
end
local before, absent = read_incarnation(record_key, id, incarnation)
if absent then
  return absent
end
local log = open_log(revision, epoch, events, log_length)
if before.state == rule.target then
  return { integer(log.last) }
end
if expected ~= '' and before.state ~= expected then
  return refuse('PRECONDITION_FAILED', "instance '%s' cannot '%s': it is %s, not %s", id, verb, before.state, expected)
end
if not rule.origins[before.state] then
  return refuse('ILLEGAL_TRANSITION', "instance '%s' cannot '%s' to %s: it is %s",
    id, verb, rule.target, before.state)
end

local changes = { state = rule.target }
local was, is = MONITORED[before.state], MONITORED[rule.target]
local starts = is and not was
if starts then
  changes.health, changes.started_at_ms = 'healthy', integer(log.now)
  changes.stopped_at_ms, changes.down_at_ms = '', ''
elseif was and not is then
  changes.health, changes.stopped_at_ms = 'unknown', integer(log.now)
end
local outcome = (starts or verb == 'stop') and redis.call('HGET', restarts, 'outcome')
local ends = starts or (verb == 'stop' and is_to_be_carried_out(restarts, outcome, log.now))
commit(log, record_key, draft(log, before, changes,
  { type = 'state_changed', reason = reason, actor = actor, evidence = evidence }))
if ends then
  end_claim(restarts, outcome)
end
if starts then
  begin_heartbeat(heartbeat, before.ttl_ms)
  if before.scope == 'project' then
    redis.call('HSET', restarts, 'started_revision', integer(log.next))
  end
elseif was and not is then
  redis.call('DEL', heartbeat)
  redis.call('SREM', down, id)
end
return { integer(log.next) }
