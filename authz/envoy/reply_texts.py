"""Plain sentences for what Envoy calls ``response.code_details``, which is not for clients.

The details themselves are in the access log, on the line with the answer's request id. The texts
are tables in CEL, Envoy's language for expressions: one answer with a table in it takes the place
of an answer for each text.
"""

from collections.abc import Sequence
from itertools import groupby

from authz.core.refusals import NO_WEBSOCKET
from authz.envoy.early_refusals import CLIENT_FIELDS, CLIENT_KIB

_NO_SERVER: Sequence[tuple[str, str]] = (
    ("no_healthy_upstream", "the host has no address"),
    ("dns_resolution_failure", "the host has no address"),
    ("overflow", "too many requests are under way"),
    ("overload", "the gateway is at its limits"),
)
"""Parts of the details, and why no server was asked; the first that fits is told."""

_NO_ANSWER: Sequence[tuple[str, str]] = (
    ("Connection_refused", "connection refused by {}"),
    ("CERTIFICATE_VERIFY_FAILED", "the certificate of {} can't be verified"),
    ("TLS_error", "the TLS handshake with {} failed"),
    ("connection_timeout", "no connection to {} in time"),
    ("connection_failure", "no connection to {}"),
    ("connection_termination", "{} closed the connection"),
    ("remote_reset", "{} cancelled the request"),
    ("protocol_error", "{} sent no valid HTTP"),
    ("timeout", "{} took too long"),
)
"""Why the server whose address takes the place of ``{}`` gave no answer; as above."""
_SERVER = "upstream.address"

HEADERS_TOO_LARGE = (
    f"The request's headers are too large: the gateway takes {CLIENT_FIELDS} fields "
    f"and {CLIENT_KIB} KiB."
)

CANNOT_SERVE = "The gateway can't serve this request."

FACTS_NAMESPACE = "authz"
"""The namespace, in the metadata of a route or cluster, of the facts that these texts quote. Routes
and clusters change while Envoy runs, and its local replies do not."""
_ROUTE = f"xds.route_metadata.filter_metadata.{FACTS_NAMESPACE}"
_CLUSTER = f"xds.cluster_metadata.filter_metadata.{FACTS_NAMESPACE}"

IS_SILENT = (
    'response.code == 504 && (response.code_details == "upstream_per_try_timeout" || '
    'response.code_details == "stream_idle_timeout")'
)
IS_EJECTED = (
    'response.code == 503 && response.code_details == "no_healthy_upstream" && '
    f"has({_CLUSTER}.retry_after)"
)
"""Envoy has the same details for a host without an address."""
RETRY_AFTER_EJECTION = f"%METADATA(CLUSTER:{FACTS_NAMESPACE}:retry_after)%"
_EJECTED_PROVIDER = f"%METADATA(CLUSTER:{FACTS_NAMESPACE}:provider)%"

_REFUSED: Sequence[tuple[str, str]] = (
    ("headers_too_large", HEADERS_TOO_LARGE),
    ("too_many_headers", HEADERS_TOO_LARGE),
    (
        "content_length_and_chunked",
        "The request has both Content-Length and Transfer-Encoding: send one of them.",
    ),
    ("transfer_encoding", "The gateway does not take this Transfer-Encoding: send chunked."),
    ("missing_host_header", "The request has no Host header."),
    ("path_normalization_failed", "The path must not have an encoded slash, backslash or NUL."),
    ("upgrade_failed", "There is no WebSocket on this path."),
    ("request_header_timeout", "The request's headers took longer than 10 s."),
    ("idle_timeout", "Nothing was sent for too long."),
    ("private_address", "The host has a private address, which no tunnel goes to."),
    (
        "ai_protocol_manager_invalid_json",
        "The gateway can't read the model of this request: send one JSON object in UTF-8, not "
        "compressed, with no key twice and at most 16 levels deep.",
    ),
    ("http1.", "The request is not valid HTTP."),
    ("http2.", "The request is not valid HTTP."),
)
"""Parts of the details, and the message."""

_REFUSED_BY_STATUS: Sequence[tuple[int, str]] = (
    (413, "The request is larger than the gateway reads (envoy.max_body_mib in gateway.yaml)."),
    (421, "This connection is for another host."),
    (426, NO_WEBSOCKET),
)
"""Envoy's own statuses with one meaning each, and the message."""


def no_answer(otherwise: str) -> str:
    """Return the format of the reason for which there is no answer, with a colon before it.

    Args:
        otherwise: the text for an unknown reason.
    """
    return _table(
        [
            *((_details_have(part), _quoted(f": {text}")) for part, text in _NO_SERVER),
            # An expression that fails would leave a dash in the text.
            (f"!has({_SERVER})", _quoted(otherwise)),
            *((_details_have(part), _with_server(f": {text}")) for part, text in _NO_ANSWER),
        ],
        otherwise,
    )


def silent(provider: str, idle_seconds: int) -> str:
    """Return the format of the message about a provider that sent no first byte in time.

    Args:
        provider: the format of its name.
        idle_seconds: the time-out of every route that has none of its own.
    """
    has_route = f"has({_ROUTE})"
    limit = _table(
        [
            (
                _details_have("per_try_timeout"),
                f'{_ROUTE}.first_byte_timeout + " s (first_byte_timeout"',
            ),
            (
                f"{has_route} && has({_ROUTE}.idle_timeout)",
                f'{_ROUTE}.idle_timeout + " s (idle_timeout"',
            ),
        ],
        f"{idle_seconds} s (envoy.stream_idle_timeout",
    )
    return (
        f"The provider {provider} sent no response within {limit} in gateway.yaml). Try again "
        "later, or stream the response if this request took so long."
    )


def ejected() -> str:
    """Return the format of the message about a provider that Envoy does not ask for now."""
    return (
        f"The gateway does not ask the provider {_EJECTED_PROVIDER} at the moment: no request to "
        "it was answered (outlier_detection in gateway.yaml), or its host has no address. Try "
        f"again in {RETRY_AFTER_EJECTION} s."
    )


def refused() -> str:
    """Return the format of the message to a request that Envoy itself refuses."""
    by_details = [(_details_have(part), _quoted(text)) for part, text in _REFUSED]
    by_status = [(f"response.code == {code}", _quoted(text)) for code, text in _REFUSED_BY_STATUS]
    return _table([*by_details, *by_status], CANNOT_SERVE)


def choice(condition: str, text: str, otherwise: str) -> str:
    """Return the format of one of two texts."""
    return _table([(condition, _quoted(text))], otherwise)


def _table(cases: Sequence[tuple[str, str]], otherwise: str) -> str:
    rows = ""
    for text, same in groupby(cases, key=lambda case: case[1]):
        rows += f"{' || '.join(condition for condition, _ in same)} ? {text} : "
    return f"%CEL({rows}{_quoted(otherwise)})%"


def _details_have(part: str) -> str:
    return f"response.code_details.contains({_quoted(part)})"


def _with_server(text: str) -> str:
    before, _, after = text.partition("{}")
    return f"{_quoted(before)} + {_SERVER}" + (f" + {_quoted(after)}" if after else "")


def _quoted(text: str) -> str:
    return f'"{text}"'
