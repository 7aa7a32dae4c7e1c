"""The route to the token endpoint; authz serves it and authenticates its callers itself."""

from envoy_data_plane.envoy.config.route.v3 import Route

from authz.config.settings import Config
from authz.envoy.api_routes import to_authz

_TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path


def oauth_routes(config: Config) -> list[Route]:
    """Return the routes of OAuth, if a grant is switched on."""
    return [] if config.sign_in.machines is None else [to_authz("oauth", _TOKEN_PATH)]
