-- Open a namespace: check the version of its keys, and give it a new epoch where the server's run is a new one.
--
-- KEYS     schema        integer  the version of the keys
--          epoch         string   the epoch
--          revision      integer  the last revision
-- ARGV     run           string   what names this run of the server, '' where it cannot be known
--          word          string   a random word for a new epoch
-- RETURNS  epoch         string   the epoch now
--          revision      integer  the last revision
--          now_ms        integer  Redis' clock
-- ERRORS   NEWER_SCHEMA  a newer version wrote the keys
-- USES     clock integer refuse
local schema, epoch, revision = unpack(KEYS)
local run, word = unpack(ARGV)

local written = tonumber(redis.call('GET', schema) or SCHEMA)
if written > SCHEMA then
  return refuse('NEWER_SCHEMA', 'the keys have version %d and this hopper knows %d: upgrade it', written, SCHEMA)
end
local present = redis.call('GET', epoch)
if not present or (run ~= '' and string.sub(present, 1, #run + 1) ~= run .. '-') then
  present = run .. '-' .. word
  redis.call('SET', epoch, present)
  redis.call('SET', schema, SCHEMA)
end
return { present, integer(tonumber(redis.call('GET', revision) or '0')), clock() }
