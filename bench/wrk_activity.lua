-- What every single-user server posts, for one after the other, each time a little later than the last.
dofile(os.getenv("BENCH_DIRECTORY") .. "/wrk.lua")
local users, turn, start = {}, 0, os.time()

function init(args)
  for line in io.lines(os.getenv("BENCH_TOKENS")) do
    local name, token = line:match("(%S+) (%S+)")
    users[#users + 1] = {
      path = "/hub/api/users/" .. name .. "/activity",
      headers = {["Authorization"] = "token " .. token, ["Content-Type"] = "application/json"},
    }
  end
end

function request()
  turn = turn + 1
  local user = users[turn % #users + 1]
  local now = os.date("!%Y-%m-%dT%H:%M:%S", start) .. string.format(".%06dZ", turn % 1000000)
  local body = string.format('{"last_activity": "%s", "servers": {"": {"last_activity": "%s"}}}', now, now)
  return wrk.format("POST", user.path, user.headers, body)
end
