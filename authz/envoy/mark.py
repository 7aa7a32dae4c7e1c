"""The mark of the project's own routes, where other Envoys ask the same authz."""

from envoy_data_plane.google.protobuf import Any

from authz.config.external_gateways import CONTEXT_ROUTES, open_mark
from authz.config.settings import Config
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.packing import packed_context
from authz.errors import ConfigError


def mark(config: Config) -> dict[str, str]:
    """Return the mark as a fact of all routes; empty where no other Envoy asks.

    Without it, authz takes this Envoy for an external gateway.

    Raises:
        ConfigError: ``external_gateways`` has no secret for the mark.
    """
    if config.external_gateways is None:
        return {}
    text = open_mark(config.external_gateways)
    if text is None:
        raise ConfigError(
            [
                "external_gateways.envoy_secret: is required for the project's own Envoy, so that "
                "authz can tell it from the others"
            ]
        )
    return {CONTEXT_ROUTES: text}


def marked(config: Config) -> dict[str, Any]:
    """Return the mark as configuration for all routes of a listener."""
    facts = mark(config)
    return {EXT_AUTHZ: packed_context(facts)} if facts else {}
