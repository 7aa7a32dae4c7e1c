"""The causes for which a check can't be decided, each with the setting to change."""

import time
from collections.abc import Callable
from enum import Enum

import structlog

from authz.check.readers import UnboundCheck

_log = structlog.get_logger(__name__)

LOG_SECONDS = 60.0
"""Each cause is logged once in this time, with the number of the lines that were left out."""


class Cause(Enum):
    """A cause, as it is in the log."""

    NO_PATH = (
        "authz does not see every header, so the gateway has an allow-list of headers: remove "
        "headersToExtAuth (Envoy Gateway), includeRequestHeadersInCheck (Istio) or allowed_headers "
        "(Envoy)"
    )
    NO_BINDING = (
        "nothing says where the route leads: set includeRouteMetadata: true in the SecurityPolicy "
        "(Envoy Gateway), or add the host to external_gateways.routes (Istio)"
    )
    NO_MARK = (
        "nothing says where the route leads: if it is the project's own Envoy that asks, set "
        "external_gateways.envoy_secret and render its configuration again; else set "
        "includeRouteMetadata: true in the SecurityPolicy"
    )
    UNKNOWN_HTTPROUTE = (
        "the HTTPRoute is not in external_gateways.routes: add it, or remove the SecurityPolicy "
        "that sends its requests to authz"
    )
    BAD_METADATA = (
        "the route's metadata do not name exactly one HTTPRoute: attach the SecurityPolicy to an "
        "HTTPRoute"
    )
    UNPROVEN = (
        "context_extensions name a provider without the secret of external_gateways.secret: add "
        "it as secret, or remove the contextExtensions and bind the HTTPRoute in "
        "external_gateways.routes"
    )
    BAD_CONTEXT = (
        "context_extensions with the secret have to name a provider of gateway.yaml that is not "
        "signed by Envoy as provider, and the prefix of the client's path as path, such as "
        "/anthropic"
    )
    DISAGREEMENT = (
        "context_extensions and the binding in external_gateways.routes name different providers, "
        "paths or base URLs: remove the contextExtensions"
    )
    CLAIM = (
        "context_extensions claim what only the project's own Envoy knows: remove kind, supported "
        "and central_key from contextExtensions"
    )
    FAIL_OPEN = (
        "an Envoy in front has let a request pass although its own check had failed, or a client "
        "claims that: set failOpen: false (failure_mode_allow) there"
    )


class CauseLog:
    """Logs causes, each once a minute.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: dict[Cause, float] = {}
        self._left_out: dict[Cause, int] = {}

    def error(self, cause: Cause, **fields: str) -> UnboundCheck:
        """Log a cause and return the error to raise.

        Args:
            fields: further fields of the line; no text of a client.
        """
        now = self._clock()
        if now - self._logged.get(cause, -LOG_SECONDS) < LOG_SECONDS:
            self._left_out[cause] = self._left_out.get(cause, 0) + 1
        else:
            self._logged[cause] = now
            left_out = self._left_out.pop(cause, 0)
            more = {"lines_left_out": left_out} if left_out else {}
            _log.error("external gateway refused", why=cause.value, **fields, **more)
        return UnboundCheck(cause.name)
