"""The HTTP application."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.errors import IdentityUnavailable
from authz.identity import IdentitySource


def create_app(source: IdentitySource) -> Starlette:
    """Build the application; it is started after gRPC and stopped before it.

    ``GET /healthz`` is 200 while the process lives. ``GET /readyz`` is 200 while a check would be
    answered, which needs the identity source, else 503. Both have an empty body, as Coder's have
    (``coder-contract.md`` 2.1).
    """

    async def healthz(_request: Request) -> Response:
        return Response()

    async def readyz(_request: Request) -> Response:
        try:
            await source.check_ready()
        except IdentityUnavailable:
            return Response(status_code=503, headers={"retry-after": "1"})
        return Response()

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])
