-- Note how far the leading monitor has come with the alerts, so that the next leader goes on from there.
--
-- KEYS     alerts        string   how far the alerts have come
--          monitor       string   id of the leading monitor
-- ARGV     monitor_id    string   the monitor that sends them
--          position      string   epoch, revision, what is told and who is down, as JSON
-- RETURNS  noted         integer  1
-- ERRORS   NOT_LEADER    another monitor leads
-- USES     refuse leader
local alerts, monitor = unpack(KEYS)
local monitor_id, position = unpack(ARGV)

local standby = forbidden_to_standby(monitor, monitor_id, 'send alerts')
if standby then
  return standby
end
redis.call('SET', alerts, position)
return { 1 }
