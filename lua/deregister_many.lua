-- Remove instances that have no children, each as it would be removed alone; what meanwhile changed is left.
--
-- KEYS     instances     zset     every id
--          names         hash     SCOPE:NAME to id
--          orphans       set      ids without a parent
--          down          set      ids that are suspect or down
--          claims        zset     claimed ids
--          revision      integer  the last revision
--          epoch         string   the epoch
--          events        stream   the log
--          members*      string   of each instance: record, heartbeat, children, the parent's children, restart ledger
-- ARGV     reason        string   why
--          actor         string   who asks
--          evidence      string   whose removal this is a part of, as JSON
--          log_length    integer  events the log keeps
--          parents*      string   of each instance: the parent the caller saw it have, '' for none
-- RETURNS  outcomes*     string   of each: removed, gone, moved (to another parent) or has-children
-- ERRORS
-- USES     clock integer record encode flat log removal
local instances, names, orphans, down, claims, revision, epoch, events = unpack(KEYS, 1, 8)
local reason, actor, evidence, log_length = unpack(ARGV, 1, 4)
local FIRST_PARENT, SHARED_KEYS, MEMBER_KEYS = 5, 8, 5

local log = open_log(revision, epoch, events, log_length)
local outcomes, encode_flat = {}, flat_encoder()
for i = 1, #ARGV - FIRST_PARENT + 1 do
  local at = SHARED_KEYS + (i - 1) * MEMBER_KEYS
  local record_key, heartbeat, children = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3]
  local siblings, restarts = KEYS[at + 4], KEYS[at + 5]
  local flat = redis.call('HGETALL', record_key)
  local json = encode_flat(flat)
  local record = json and flat_place(flat) or read_record(record_key)
  if not record then
    outcomes[i] = 'gone'
  elseif record.parent_id ~= ARGV[FIRST_PARENT + i - 1] then
    outcomes[i] = 'moved'
  elseif redis.call('SCARD', children) > 0 then
    outcomes[i] = 'has-children'
  else
    remove_record(log, {
      record = record_key, heartbeat = heartbeat, children = children, siblings = siblings, restarts = restarts,
      instances = instances, names = names, orphans = orphans, down = down, claims = claims,
    }, record, { reason = reason, actor = actor, evidence = evidence, record = json })
    log.next = log.next + 1
    outcomes[i] = 'removed'
  end
end
return outcomes
