"""HTTP/1 options of the listeners: they serve old versions and ignore unknown upgrades."""

from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions
from envoy_data_plane.envoy.config.route.v3 import RouteActionUpgradeConfig
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from authz.envoy.packing import regex

WEBSOCKET = "websocket"
NO_UPGRADE = RouteActionUpgradeConfig(upgrade_type=WEBSOCKET, enabled=False)
"""Switches WebSockets off for a route; the connection manager has them on."""
DEFAULT_HOST = "gateway"
"""The Host of an HTTP/1.0 request that has none, such as HAProxy's ``httpchk``."""


def http1_options(
    *, upgrade: str | None = WEBSOCKET, default_host: str | None = None
) -> Http1ProtocolOptions:
    """Return the HTTP/1 options of a listener.

    HTTP/1.0 is accepted, because nginx and HAProxy speak it by default. Envoy ends an answer of
    unknown length by closing the connection.

    Args:
        upgrade: the only protocol that a client may upgrade to. RFC 9110 7.8 lets a server ignore
            an upgrade, so a request that offers another protocol is served without it.
        default_host: the Host of an HTTP/1.0 request that has none; None refuses it.
    """
    ignored = "(?s).*" if upgrade is None else all_but(upgrade)
    return Http1ProtocolOptions(
        accept_http_10=True,
        default_host_for_http_10=default_host or "",
        ignore_http_11_upgrade=[StringMatcher(safe_regex=regex(ignored))],
    )


def all_but(word: str) -> str:
    """Return a pattern for every text except ``word`` in any case; RE2 has no negation.

    Args:
        word: ASCII letters.
    """
    pattern = ".+"
    for letter in reversed(word):
        pattern = f"(?:[^{letter}].*|{letter}{pattern})?"
    return f"(?is){pattern}"
