"""The Lua scripts for requests that a provider refused.

Lua runs for a refused try and for the one after it, and for no other. A script reads and writes
Envoy's dynamic metadata, which all tries of a request share; the access log reads the same fields,
so it names the key that answered.
"""

from collections.abc import Collection

from authz.check.ext_authz import (
    METADATA_FACTS,
    METADATA_FALLBACK_FACTS,
    METADATA_FIRST_PROVIDER,
    METADATA_FURTHER_KEYS,
    METADATA_KEY_INDEX,
    METADATA_NAMESPACE,
)
from authz.check.refused_keys import (
    FROM_PROVIDER,
    METADATA_REFUSALS,
    METADATA_RETRIED,
    METHOD,
    RETRY_AFTER,
    RETRY_COUNTED,
)
from authz.check.route_facts import destination
from authz.config.settings import Provider

STATE = "authz.retry"
"""The namespace of what one script keeps for the other."""
TO_PROVIDER = "authz.retry.provider"
"""The filter state with the provider of the next try, where that is not the one before. Envoy 1.40
crashes on a route that looks for its cluster in dynamic metadata."""
REQUEST_SEEN = "x-authz-request"
"""A header of a refusal, between two filters of a provider's cluster: how long the request took to
come, which is missing while it still comes, and its length."""
REQUEST_SEEN_FORMAT = "%REQUEST_DURATION%/%REQ(CONTENT-LENGTH)%"
NOT_RETRIED = "x-envoy-ratelimited"
"""A response header with which Envoy's router does not retry a request. A provider's own Envoy may
send it as well."""
_MAX_RETRY_AFTER = 64
"""The characters of a ``Retry-After`` that are passed on; a date has 29."""

_KEEP = """\
function envoy_on_response(handle)
  local headers = handle:headers()
  local duration, length = (headers:get("{seen}") or ""):match("^(%d*)-?/(%d*)")
  headers:remove("{seen}")
  local metadata = handle:streamInfo():dynamicMetadata()
  local told = metadata:get("{namespace}")
  if told == nil or told["{further}"] == nil then return end
  -- In ASCII, since metadata holds no other bytes.
  local retry_after = (headers:get("{retry_after}") or ""):gsub("[^ -~]", "?")
  local refusals = told["{refusals}"] or {{}}
  for _, value in ipairs({{
    told["provider"], told["{index}"] or "", told["credential_hint"] or "",
    headers:get(":status"), retry_after:sub(1, {longest}), tostring(handle:timestamp()),
  }}) do table.insert(refusals, value) end
  metadata:set("{namespace}", "{refusals}", refusals)
  -- While a request still comes, Envoy would retry it. Once it exceeds the limit, and no try is
  -- under way at that moment, Envoy's answer is a 507.
  local known = tonumber(length or "")
  if (known or 0) > {limit} or (known == nil and (duration or "") == "") then
    headers:replace("{not_retried}", "true")
    return
  end
  headers:remove("{not_retried}")
  metadata:set("{state}", "status", headers:get(":status"))
  local used = tonumber((metadata:get("{state}") or {{}})["used"] or "0")
  local provider = told["{further}"][2 + 4 * used]
  if provider ~= nil and provider ~= told["provider"] then
    -- The route sends the next try to the cluster of this provider.
    handle:streamInfo():filterState():set("{to}", "envoy.string", provider)
  end
end
"""

_BEGIN = """\
function envoy_on_request(handle)
  local told = handle:streamInfo():dynamicMetadata():get("{namespace}")
  handle:streamInfo():filterState():set("{to}", "envoy.string", told["{first}"])
  -- The route is the same: nothing else that it depends on has changed. Reading its metadata makes
  -- Envoy select it here, while the request has X-Forwarded-Proto; without that, none matches.
  handle:clearRouteCache()
  handle:metadata()
end
"""

_NEXT = """\
local function varint(number)
  local bytes = ""
  while number > 127 do
    bytes = bytes .. string.char(128 + number % 128)
    number = math.floor(number / 128)
  end
  return bytes .. string.char(number)
end

-- A field of protobuf that has a length: a text or a message.
local function field(number, value)
  return varint(number * 8 + 2) .. varint(#value) .. value
end

local function entry(key, value)
  return field(1, field(1, key) .. field(2, value))
end

-- A StreamAccessLogsMessage (proto/access_log.proto), as Envoy's logger sends it at the end.
local function message(told, status, retried)
  local facts = ""
  local names = {{"provider", "{index}", "credential_hint", "user_id", "token_id", "user"}}
  for _, name in ipairs(names) do
    facts = facts .. entry(name, field(3, told[name] or ""))
  end
  local refusals, list = told["{refusals}"] or {{}}, ""
  for _, value in ipairs(refusals) do list = list .. field(1, field(3, value)) end
  facts = facts .. entry("{refusals}", field(6, list))
  facts = facts .. entry("{retried}", field(3, retried))
  local common = field(17, entry("{namespace}", facts))
  -- The one before the last field of the last refusal.
  local retry_after = refusals[#refusals - 1] or ""
  local after = field(4, field(1, "{retry_after}") .. field(2, retry_after))
  local code = field(1, string.char(8) .. varint(tonumber(status)))
  local response = code .. after .. field(6, "{details}")
  local sent = field(2, field(1, field(1, common) .. field(4, response)))
  local high, low = math.floor(#sent / 256), #sent % 256
  -- gRPC's prefix: not compressed, and the length. A message has less than 64 KiB.
  return string.char(0, 0, 0, high, low) .. sent
end

-- By provider: the host, the path of the base URL, and account headers.
local places = {{{places}}}

-- Send a request that was made for one provider to another one of the same type.
local function move(headers, from, to)
  local path = headers:get(":path")
  if path:sub(1, #from.path) ~= from.path then return false end
  headers:replace(":path", to.path .. path:sub(#from.path + 1))
  headers:replace(":authority", to.authority)
  for name, _ in pairs(from.accounts) do headers:remove(name) end
  for name, value in pairs(to.accounts) do headers:replace(name, value) end
  return true
end

function envoy_on_request(handle)
  local metadata, headers = handle:streamInfo():dynamicMetadata(), handle:headers()
  local told, state = metadata:get("{namespace}"), metadata:get("{state}") or {{}}
  local status, further = state["status"] or "", told and told["{further}"]
  if further == nil then return end
  -- A later try after a broken connection keeps the key that it has.
  metadata:set("{state}", "status", "")
  metadata:set("{namespace}", "{first}", "")
  local used = tonumber(state["used"] or "0")
  local at = 2 + 4 * used
  local provider = further[at]
  if provider == nil then return end
  -- Before all else, so that the key of the try before goes nowhere if this script should fail.
  headers:remove(further[1])
  metadata:set("{state}", "used", tostring(used + 1))
  local name = provider:match("^%S+")
  local from, to = places[told["provider"]], places[name]
  -- A key goes to the cluster of its provider and base URL only.
  local is_own = provider == {own} or provider == {destination}
  if not is_own or from == nil or (from ~= to and not move(headers, from, to)) then return end
  headers:replace(further[1], further[at + 3])
  metadata:set("{namespace}", "{index}", further[at + 1])
  metadata:set("{namespace}", "credential_hint", further[at + 2])
  if from ~= to then
    metadata:set("{namespace}", "provider", name)
    local facts = told["{fallback_facts}"] or {{}}
    for place = 1, #facts, 2 do
      if facts[place] == name then metadata:set("{namespace}", "{facts}", facts[place + 1]) end
    end
  end
  if status == "" then return end
  local retried = "{counted}"
  for _, cluster in ipairs({{{clusters}}}) do
    -- It does not wait for an answer.
    handle:httpCall(cluster, {{
      [":method"] = "POST", [":path"] = "{method}", [":authority"] = cluster,
      ["content-type"] = "application/grpc", ["te"] = "trailers",
    }}, message(told, status, retried), {milliseconds}, true)
    retried = "true"
  end
end
"""

_TOLD_MILLISECONDS = 1000
_ESCAPED = frozenset({*range(32), ord('"'), ord("\\"), *range(127, 256)})
_NAMES = {
    "namespace": METADATA_NAMESPACE,
    "further": METADATA_FURTHER_KEYS,
    "index": METADATA_KEY_INDEX,
    "refusals": METADATA_REFUSALS,
    "state": STATE,
    "retry_after": RETRY_AFTER,
    "longest": _MAX_RETRY_AFTER,
    "to": TO_PROVIDER,
    "seen": REQUEST_SEEN,
    "not_retried": NOT_RETRIED,
}


def begin_at_first_provider() -> str:
    """Return the script that sends a request to the fallback provider that authz names."""
    return _BEGIN.format_map(_NAMES | {"first": METADATA_FIRST_PROVIDER})


def keep_refusal(limit: int) -> str:
    """Return the script that keeps the status of a refusal for the next try.

    Args:
        limit: how many bytes of a request Envoy keeps to send it again.
    """
    return _KEEP.format_map(_NAMES | {"limit": limit})


def next_key(own: Provider, places: Collection[Provider], clusters: Collection[str]) -> str:
    """Return the script that sets the next key and tells authz of the refused one.

    It tells at once, since the log of a request comes when its answer has ended, which may be after
    minutes.

    Args:
        own: the provider of the cluster.
        places: the providers from which and to which a request may come here.
        clusters: of the processes of authz. Each is told; the first counts the retry.
    """
    return _NEXT.format_map(
        _NAMES
        | {
            "own": _text(own.name),
            "destination": _text(destination(own)),
            "places": ", ".join(map(_place, places)),
            "clusters": ", ".join(f'"{name}"' for name in clusters),
            "method": METHOD,
            "details": FROM_PROVIDER,
            "retried": METADATA_RETRIED,
            "counted": RETRY_COUNTED,
            "milliseconds": _TOLD_MILLISECONDS,
            "facts": METADATA_FACTS,
            "fallback_facts": METADATA_FALLBACK_FACTS,
            "first": METADATA_FIRST_PROVIDER,
        }
    )


def _place(provider: Provider) -> str:
    accounts = ", ".join(
        f"[{_text(name)}] = {_text(value)}" for name, value in provider.account_headers.items()
    )
    path, authority = provider.base_url.path.rstrip("/"), provider.base_url.authority
    return (
        f"[{_text(provider.name)}] = "
        f"{{authority = {_text(authority)}, path = {_text(path)}, accounts = {{{accounts}}}}}"
    )


def _text(value: str) -> str:
    """Return a text as a Lua string, whatever characters it has."""
    shown = (f"\\{byte:03d}" if byte in _ESCAPED else chr(byte) for byte in value.encode())
    return f'"{"".join(shown)}"'
