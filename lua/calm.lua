-- Take the word back that an instance is flapping, once it has been quiet for a window: neither down nor back.
--
-- KEYS     record        hash     the instance's record
--          restarts      hash     its restart ledger and flap history
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
-- ARGV     id            string   the instance
--          incarnation   integer  the incarnation the caller saw
--          flap_window_ms integer  how long it must have been quiet
--          reason        string   why
--          actor         string   who asks
--          log_length    integer  events the log keeps
-- RETURNS  outcome       string   calm, restless or repeat
--          left_ms       integer  how long it has still to be quiet
-- ERRORS   NOT_FOUND     there is no such instance
--          STALE_INCARNATION  a newer registration has taken the id
-- USES     clock integer refuse record superseded incarnation encode log draft commit flaps
local record_key, restarts, revision, epoch, events = unpack(KEYS)
local id, incarnation, flap_window_ms, reason, actor, log_length = unpack(ARGV)

local before, absent = read_incarnation(record_key, id, incarnation)
if absent then
  return absent
end
if before.flapping ~= 'true' then
  return { 'repeat', 0 }
end
local log = open_log(revision, epoch, events, log_length)
local window_ms = tonumber(flap_window_ms)
local flaps = recent_flaps(restarts, 1, window_ms, log.now)
local last_ms = math.max(tonumber(flaps[1] or 0), tonumber(before.down_at_ms) or 0)
local left_ms = math.min(last_ms + window_ms - log.now, window_ms)
if left_ms > 0 then
  return { 'restless', left_ms }
end
local event = { type = 'updated', reason = reason, actor = actor }
commit(log, record_key, draft(log, before, { flapping = 'false' }, event))
return { 'calm', 0 }
