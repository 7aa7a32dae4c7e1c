"""The provider behind every variant: an Envoy with a canned answer, the cheapest there is.

It gives 200 only to a request that brings the central key and no Coder token, so that a variant
that does not do its job is a failure and not a record.
"""

from typing import Any

CENTRAL_KEY = "sk-ant-central-0f3a9b7c5d1e0f3a9b7c5d1e"

_ANSWER = (
    '{"id":"msg_0f3a9b7c5d1e","type":"message","role":"assistant","model":"claude-sonnet-4-5",'
    '"content":[{"type":"text","text":"Hello."}],"stop_reason":"end_turn","stop_sequence":null,'
    '"usage":{"input_tokens":12,"output_tokens":3}}'
)
_TYPES = "type.googleapis.com/envoy.extensions.filters"


def bootstrap(port: int) -> dict[str, Any]:
    """Return the configuration of the canned provider."""
    # Without the buffer the answer would come before the request's body, and the connection close.
    buffer = {
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": f"{_TYPES}.http.buffer.v3.Buffer",
            "max_request_bytes": 1_048_576,
        },
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "upstream",
        "generate_request_id": False,
        "http_filters": [buffer, router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes()}]},
    }
    listener = {
        "name": "upstream",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return {"static_resources": {"listeners": [listener]}}


def _routes() -> list[dict[str, Any]]:
    right_credential = {
        "prefix": "/",
        "headers": [
            {"name": "x-api-key", "string_match": {"exact": CENTRAL_KEY}},
            {"name": "authorization", "present_match": True, "invert_match": True},
        ],
    }
    return [
        {
            "match": right_credential,
            "direct_response": {"status": 200, "body": {"inline_string": _ANSWER}},
            "response_headers_to_add": [
                {
                    "header": {"key": "content-type", "value": "application/json"},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }
            ],
        },
        {"match": {"prefix": "/"}, "direct_response": {"status": 403}},
    ]
