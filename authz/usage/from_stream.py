"""A request from Envoy's access log stream."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from authz.ext_authz import METADATA_ENTRY, METADATA_NAMESPACE
from authz.pb import access_log_pb2 as pb
from authz.usage.entry import NO_TOKENS, Tokens, UsageEntry, judge
from authz.usage.names import CONTENT_ENCODING, PROXY_SESSION_KEY, REQUEST_ID_KEY, TOKEN_USAGE

_MILLISECOND = 1_000_000


def read_entry(entry: pb.HTTPAccessLogEntry) -> UsageEntry | None:
    """Return the request of an entry, or None where authz has given it no id.

    Raises:
        DecodeError: a part of it is not what Envoy 1.40 writes.
    """
    common = entry.common_properties
    # A map of messages makes what is asked for and is not there.
    if METADATA_NAMESPACE not in common.metadata.filter_metadata:
        return None
    fields = common.metadata.filter_metadata[METADATA_NAMESPACE].fields
    facts = {name: value.string_value for name, value in fields.items()}
    entry_id = facts.get(METADATA_ENTRY)
    if entry_id is None:
        return None
    found = _token_usage(common.metadata.typed_filter_metadata)
    response = entry.response
    status = response.response_code.value
    decision = facts.get("decision", "")
    return UsageEntry(
        id=entry_id,
        time_ms=common.start_time.seconds * 1000 + common.start_time.nanos // _MILLISECOND,
        decision=decision,
        status=status,
        usage=judge(
            decision=decision,
            status=status,
            extracted=found.extraction_status if found else None,
            encoding=response.response_headers.get(CONTENT_ENCODING, ""),
            is_cancelled=common.response_flags.downstream_connection_termination
            or common.response_flags.downstream_remote_reset,
        ),
        duration_ms=common.duration.seconds * 1000 + common.duration.nanos // _MILLISECOND,
        request_id=_text(common.filter_state_objects, REQUEST_ID_KEY),
        user_id=facts.get("user_id"),
        username=facts.get("user"),
        token_id=facts.get("token_id"),
        token_name=facts.get("token_name"),
        provider=facts.get("provider"),
        mode=facts.get("mode"),
        reason=facts.get("reason"),
        model=(found.model or None) if found else None,
        proxy_session=_text(common.filter_state_objects, PROXY_SESSION_KEY),
        tokens=_tokens(found) if found else NO_TOKENS,
    )


def _token_usage(typed: Mapping[str, Any]) -> pb.TokenUsage | None:
    if TOKEN_USAGE not in typed:
        return None
    return pb.TokenUsage.FromString(typed[TOKEN_USAGE].value)


def _tokens(found: pb.TokenUsage) -> Tokens:
    read = found.input_token_details
    written = found.output_token_details
    return Tokens(
        input=found.input_tokens.value if found.HasField("input_tokens") else None,
        cached=read.cached_tokens.value if read.HasField("cached_tokens") else None,
        cache_write=(
            read.cache_creation_tokens.value if read.HasField("cache_creation_tokens") else None
        ),
        output=found.output_tokens.value if found.HasField("output_tokens") else None,
        reasoning=(
            written.reasoning_tokens.value if written.HasField("reasoning_tokens") else None
        ),
    )


def _text(objects: Mapping[str, Any], key: str) -> str | None:
    if key not in objects:
        return None
    return StringValue.FromString(objects[key].value).value or None
