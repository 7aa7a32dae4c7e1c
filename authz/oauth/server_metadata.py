"""The metadata of the gateway as an authorization server (RFC 8414)."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.addresses import TcpAddress
from authz.oauth.token_endpoint import TOKEN_PATH
from authz.web.server import is_from_envoy

METADATA_PATH = "/.well-known/oauth-authorization-server"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?")
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def server_metadata(
    origin: str, grants: Iterable[str], endpoints: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the metadata document.

    Args:
        origin: scheme and authority of the gateway, as its clients see it.
        grants: the grants that are switched on.
        endpoints: the paths of further endpoints, such as ``device_authorization_endpoint``.
    """
    return {
        "issuer": origin,
        "token_endpoint": f"{origin}{TOKEN_PATH}",
        **{name: f"{origin}{path}" for name, path in (endpoints or {}).items()},
        "grant_types_supported": sorted(grants),
        # Required; there is no authorization endpoint.
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none"],
    }


def metadata_route(
    grants: Iterable[str],
    endpoints: Mapping[str, str] | None = None,
    *,
    origin: Callable[[Request], str | None] | None = None,
) -> Route:
    """Return the route of the metadata document; arguments as for ``server_metadata``.

    Args:
        origin: returns the origin that a request was sent to. None means ``request_origin``.
    """
    names = tuple(grants)

    async def endpoint(request: Request) -> Response:
        here = (origin or request_origin)(request)
        if here is None:
            return Response(status_code=400, headers=_HEADERS)
        return JSONResponse(server_metadata(here, names, endpoints), headers=_HEADERS)

    return Route(METADATA_PATH, endpoint, methods=["GET"])


def request_origin(request: Request, *, is_https: bool = False) -> str | None:
    """Return scheme and authority of the URL that a client asked for, or None for a bad ``Host``.

    Envoy sends the scheme of its own connection; a header of a client does not reach authz.

    Args:
        request: the request.
        is_https: clients on other machines connect over TLS, which may end in front of Envoy.
    """
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        return None
    scheme = request.url.scheme
    if is_from_envoy(request):
        scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else "http"
    if is_https and not _is_loopback(host):
        scheme = "https"
    return f"{scheme}://{host}"


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return TcpAddress(name.strip("[]").lower(), 80).is_loopback
