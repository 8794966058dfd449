-- The decimal text of an integer: `tostring` would turn large ones into floating-point notation.
local function integer(number)
  return string.format('%.0f', number)
end
