-- Record that an instance that was suspect or down heartbeats again; one that was down too often is flapping.
--
-- KEYS     record        hash     the instance's record
--          heartbeat     string   the instance's heartbeat
--          down          set      ids that are suspect or down
--          restarts      hash     its restart ledger and flap history
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          flap_count    integer  recoveries from down from which it is flapping
--          flap_window_ms integer  the time in which these count
--          actor         string   who noticed
--          log_length    integer  events the log keeps
-- RETURNS  outcome       string   recovered, lapsed, gone, unmonitored or repeat
--          left_ms       integer  what remains of its heartbeat, -2 for a gone one
--          now_ms        integer  Redis' clock
-- ERRORS
-- USES     clock integer record encode log draft commit liveness flaps
local record_key, heartbeat, down, restarts, revision, epoch, events = unpack(KEYS)
local id, flap_count, flap_window_ms, actor, log_length = unpack(ARGV)

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
local changes, evidence, flaps = { health = 'healthy', down_at_ms = '' }, '{}', nil
if before.health == 'down' then
  flaps = recent_flaps(restarts, flap_count - 1, tonumber(flap_window_ms), log.now)
  flaps[#flaps + 1] = integer(log.now)
  changes.flapping = #flaps >= tonumber(flap_count) and 'true' or nil
  evidence = string.format('{"down_ms":%.0f,"flaps":%d}', log.now - (tonumber(before.down_at_ms) or log.now), #flaps)
elseif before.down_at_ms ~= '' then
  evidence = string.format('{"down_ms":%.0f}', log.now - before.down_at_ms)
end
commit(log, record_key, draft(log, before, changes,
  { type = 'health_changed', reason = 'heartbeat', actor = actor, evidence = evidence }))
redis.call('SREM', down, id)
if flaps then
  redis.call('HSET', restarts, 'flaps', '[' .. table.concat(flaps, ',') .. ']')
end
return { 'recovered', left, log.now }
