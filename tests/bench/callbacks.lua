-- Cycles over prepared callbacks, from a file with one "path<TAB>body" a line; args: file, first index, path or "-".
local requests, at = {}, 0

function init(args)
  local path = args[3] ~= "-" and args[3] or nil
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(args[1]) do
    local url, body = line:match("^(.-)\t(.*)$")
    requests[#requests + 1] = wrk.format("POST", path or url, headers, body)
  end
  at = tonumber(args[2]) % #requests
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"answers": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
