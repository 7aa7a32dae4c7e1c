"""Plain sentences for what Envoy calls ``response.code_details``, which is not for clients.

The details themselves are in the access log, on the line with the answer's request id.
"""

from collections.abc import Sequence

from authz.envoy.early_refusals import CLIENT_FIELDS, CLIENT_KIB

_SERVER = "%UPSTREAM_HOST%"

NO_ANSWER: Sequence[tuple[str, str]] = (
    ("Connection_refused", f"connection refused by {_SERVER}"),
    ("CERTIFICATE_VERIFY_FAILED", f"the certificate of {_SERVER} can't be verified"),
    ("TLS_error", f"the TLS handshake with {_SERVER} failed"),
    ("connection_timeout", f"no connection to {_SERVER} in time"),
    ("connection_failure", f"no connection to {_SERVER}"),
    ("connection_termination", f"{_SERVER} closed the connection"),
    ("remote_reset", f"{_SERVER} cancelled the request"),
    ("protocol_error", f"{_SERVER} sent no valid HTTP"),
    ("no_healthy_upstream", "the host has no address"),
    ("dns_resolution_failure", "the host has no address"),
    ("overflow", "too many requests are under way"),
    ("timeout", f"{_SERVER} took too long"),
    ("overload", "the gateway is at its limits"),
)
"""Parts of the details, and why there is no answer; the first that fits is said."""

HEADERS_TOO_LARGE = (
    f"The request's headers are too large: the gateway takes {CLIENT_FIELDS} fields "
    f"and {CLIENT_KIB} KiB."
)

REFUSED: Sequence[tuple[str, str]] = (
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
    ("http1.", "The request is not valid HTTP."),
    ("http2.", "The request is not valid HTTP."),
)
"""Parts of the details, and the message."""

REFUSED_BY_STATUS: Sequence[tuple[int, str]] = (
    (421, "This connection is for another host."),
    (426, "There is no WebSocket on this path: use HTTP."),
)
"""Statuses of Envoy's own that say it all, and the message."""
