-- GET /hub/api/user with a different user's token each time. BENCH_TOKENS names a file of "user token" lines.
dofile(os.getenv("BENCH_DIRECTORY") .. "/wrk.lua")
local requests, turn = {}, 0

function init(args)
  for line in io.lines(os.getenv("BENCH_TOKENS")) do
    local token = line:match("%S+$")
    requests[#requests + 1] = wrk.format("GET", "/hub/api/user", {["Authorization"] = "token " .. token})
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
