-- Why a monitor may not do something, as an error reply: another one leads; nil where it may. `what` follows "cannot".
local function forbidden_to_standby(monitor, monitor_id, what)
  local leader = redis.call('GET', monitor) or ''
  if leader ~= monitor_id then
    return refuse('NOT_LEADER', "'%s' cannot %s: '%s' leads", monitor_id, what, leader)
  end
end
