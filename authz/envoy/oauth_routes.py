"""The routes to the token endpoint, which authz serves and which authenticates its callers."""

from envoy_data_plane.envoy.config.route.v3 import Route

from authz.config.settings import Config
from authz.envoy.api_routes import to_authz

_PATHS = ("/oauth/token", "/.well-known/oauth-authorization-server")


def oauth_routes(config: Config) -> list[Route]:
    """Return the routes of OAuth, if a grant is switched on."""
    if config.sign_in.machines is None:
        return []
    return [to_authz("oauth", path.replace(".", r"\.")) for path in _PATHS]
