-- Record that an instance that was suspect or down heartbeats again.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          down          set      ids that are suspect or down
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          actor         string   who noticed
--          log_length    integer  events the log keeps
-- RETURNS  outcome       string   recovered, lapsed, gone, unmonitored or repeat
--          left_ms       integer  what remains of its heartbeat, -2 for a gone one
--          now_ms        integer  Redis' clock
-- ERRORS
-- USES     clock integer record encode log draft commit liveness
local record_key, heartbeat, down, revision, epoch, events = unpack(KEYS)
local id, actor, log_length = unpack(ARGV)

local log = open_log(revision, epoch, events, log_length)
local before = read_record(record_key)
if not before then
  return { 'gone', -2, log.now }
end
if not MONITORED[before.state] then
  return { 'unmonitored', -2, log.now }
end
local left = remaining_ms(heartbeat, tonumber(before.ttl_ms))
if left < 0 then
  return { 'lapsed', left, log.now }
end
if before.health ~= 'suspect' and before.health ~= 'down' then
  return { 'repeat', left, log.now }
end
local evidence = before.down_at_ms == '' and '{}'
  or string.format('{"down_ms":%.0f}', log.now - before.down_at_ms)
commit(log, record_key, draft(log, before, { health = 'healthy', down_at_ms = '' },
  { type = 'health_changed', reason = 'heartbeat', actor = actor, evidence = evidence }))
redis.call('SREM', down, id)
return { 'recovered', left, log.now }
