-- Record how well an instance that is alive does: healthy, degraded or unhealthy. One without a heartbeat is left
-- alone.
--
-- KEYS     record        hash     the instance's record
--          monitor       string   id of the leading monitor
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          incarnation   integer  the incarnation that is assessed
--          health        string   healthy, degraded or unhealthy
--          reason        string   thresholds, check or children
--          evidence      object   the figures behind it
--          monitor_id    string   the monitor that assesses
--          log_length    integer  events the log keeps
-- RETURNS  outcome       string   assessed, repeat, lapsed, unmonitored or gone
--          revision      integer  the revision of the change, 0 where there was none
-- ERRORS   INVALID       the health is not one of the living, or the evidence no object
--          NOT_LEADER    another monitor leads
--          STALE_INCARNATION  a newer registration has taken the id
-- USES     clock integer refuse leader record superseded encode log draft commit
local record_key, monitor, revision, epoch, events = unpack(KEYS)
local id, incarnation, health, reason, evidence, monitor_id, log_length = unpack(ARGV)

if not ALIVE[health] then
  return refuse('INVALID', "instance '%s' cannot be assessed as '%s'", id, health)
end
if string.sub(evidence, 1, 1) ~= '{' or not pcall(cjson.decode, evidence) then
  return refuse('INVALID', "evidence on instance '%s' is '%s', which is no object", id, string.sub(evidence, 1, 100))
end
local standby = forbidden_to_standby(monitor, monitor_id, "assess instance '" .. id .. "'")
if standby then
  return standby
end
local before = read_record(record_key)
if not before then
  return { 'gone', 0 }
end
local stale = superseded(id, before.incarnation, incarnation)
if stale then
  return stale
end
if not MONITORED[before.state] then
  return { 'unmonitored', 0 }
end
if not ALIVE[before.health] then
  return { 'lapsed', 0 }
end
if before.health == health then
  return { 'repeat', 0 }
end
local log = open_log(revision, epoch, events, log_length)
commit(log, record_key, draft(log, before, { health = health },
  { type = 'health_changed', reason = reason, actor = 'monitor', evidence = evidence }))
return { 'assessed', integer(log.next) }
