-- The answer kept for a request token, as the flat array that was returned; nil for a first delivery.
local function earlier_answer(key)
  local kept = redis.call('GET', key)
  if not kept then
    return nil
  end
  local answer = {}
  for word in string.gmatch(kept, '%S+') do
    answer[#answer + 1] = word
  end
  return answer
end

-- Keep an answer (words without spaces) for a repeat of the request.
local function keep_answer(key, answer)
  redis.call('SET', key, table.concat(answer, ' '), 'PX', REQUEST_TTL_MS)
  return answer
end
