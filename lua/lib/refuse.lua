-- The error reply of a script: `HOPPER_CODE` and a sentence made of a format and its values.
local function refuse(code, sentence, ...)
  return redis.error_reply('HOPPER_' .. code .. ' ' .. string.format(sentence, ...))
end
