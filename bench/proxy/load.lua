-- Requests of one kind, for wrk: KIND is small, browser, varied (browser's, but no two alike), download or upload;
-- ROUTES is how many users there are to choose from.
local kind = os.getenv("KIND")
local routes = tonumber(os.getenv("ROUTES"))
local fields = {}
local method, body = "GET", nil

if kind == "browser" or kind == "varied" then
  fields = {
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ["Accept"] = "application/json, text/plain, */*",
    ["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Referer"] = "http://localhost/user/u1/lab/tree/notebooks/analysis.ipynb",
    ["X-XSRFToken"] = "2|6af59a27|d0e5d5e6d2f4d2c5c1f1|1700000000",
    ["DNT"] = "1",
    ["Sec-Fetch-Dest"] = "empty",
    ["Sec-Fetch-Mode"] = "cors",
    ["Sec-Fetch-Site"] = "same-origin",
    ["Priority"] = "u=4",
    ["Cache-Control"] = "no-cache",
    ["Cookie"] = "_xsrf=2|6af59a27|d0e5d5e6d2f4d2c5; jupyterhub-session-id=" .. string.rep("a1", 16)
      .. "; jupyterhub-user-u1=" .. string.rep("Zx8", 280),
  }
elseif kind == "upload" then
  method, body = "POST", string.rep("x", 10 * 1000 * 1000)
end

local big = ({ download = "big", varied = "vary" })[kind] or "api/kernels"
local count = 0

function init(args)
  math.randomseed(4711)
  if kind == "varied" then
    -- Formatted once; what differs is put in between, so that the load generator does not become the limit.
    local whole = wrk.format(method, "/user/u1/vary", fields, body)
    local at = whole:find("notebooks/analysis", 1, true)
    before, after = whole:sub(1, at - 1), whole:sub(at)
  elseif routes == 1 then
    fixed = wrk.format(method, "/user/u1/" .. big, fields, body)
  end
end

function request()
  if before then
    count = count + 1
    return before .. string.format("%08d", count) .. after
  end
  return fixed or wrk.format(method, "/user/u" .. math.random(routes) .. "/" .. big, fields, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "bytes": %d, "bad": %d, "p50_ms": %f, "p99_ms": %f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, bad,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
