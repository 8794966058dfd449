-- Append one event and raise the revision to it; the first write of every change, since Redis undoes nothing.
-- `log` names the keys `revision`, `epoch` and `events` and holds `next` (this event's revision), `now` and `length`.
-- `event` holds `type id record previous reason actor evidence`, the JSON ones encoded.
local function append_event(log, event)
  redis.call('XADD', log.events, 'MAXLEN', '~', log.length, integer(log.next) .. '-0',
    'type', event.type, 'id', event.id or '', 'at_ms', integer(log.now),
    'record', event.record or '', 'previous', event.previous or '{}',
    'reason', event.reason or '', 'actor', event.actor or '', 'evidence', event.evidence or '{}')
  redis.call('SET', log.revision, integer(log.next))
  redis.call('SETNX', log.epoch, string.format('-%.0f', log.now))
end

-- The log as `append_event` wants it.
local function open_log(revision_key, epoch_key, events_key, length)
  local revision = tonumber(redis.call('GET', revision_key) or '0')
  return {
    revision = revision_key, epoch = epoch_key, events = events_key,
    last = revision, next = revision + 1, now = clock(), length = length,
  }
end
