"""Build the application that serves the token API."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.errors import ManagedByCoder, StoreError
from authz.identity.store_base import ActorGone
from authz.web.api.authentication import BAD_TOKEN, check_same_site
from authz.web.api.call import Call, Services, user_call
from authz.web.api.errors import (
    ApiError,
    json_response,
    on_api_error,
    on_http_error,
    unauthorized,
    unavailable,
)
from authz.web.api.openapi import document
from authz.web.api.operation import Operation
from authz.web.api.operations import OPERATIONS
from authz.web.routing import without_slash_redirects

_log = structlog.get_logger(__name__)


def create_api(services: Services) -> Starlette:
    """Build the application, to be mounted at ``/api/v2``.

    It authenticates every call itself: Envoy does not check requests to its paths.
    """
    routes = [Route("/openapi.json", _openapi)]
    paths = dict.fromkeys(operation.path for operation in OPERATIONS)
    for path in paths:
        of_path = [operation for operation in OPERATIONS if operation.path == path]
        routes.append(
            Route(
                path,
                _endpoint({operation.method: operation for operation in of_path}, services),
                methods=[operation.method for operation in of_path],
            )
        )
    return without_slash_redirects(
        Starlette(
            routes=routes,
            exception_handlers={
                ApiError: on_api_error,
                HTTPException: on_http_error,
            },
        )
    )


@functools.cache
def _description() -> dict[str, Any]:
    # Not at the start of authz: few clients ask for it.
    return document(OPERATIONS)


async def _openapi(_request: Request) -> Response:
    return json_response(200, _description())


def _endpoint(
    operations: dict[str, Operation], services: Services
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = operations.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            raise HTTPException(405)
        check_same_site(request)
        try:
            call = Call(request, services, await services.own_store.get())
            if operation.handler is not None:
                return await operation.handler(call)
            assert operation.user_handler is not None  # noqa: S101 - every operation has one of the two
            return await operation.user_handler(await user_call(call))
        except ManagedByCoder:
            raise _managed(services) from None
        except ActorGone:
            raise unauthorized(BAD_TOKEN) from None
        except StoreError as error:
            _log.error("token API: store failed", why=str(error))
            raise unavailable() from None
        except (ApiError, HTTPException):
            raise
        except Exception as error:
            # Only the type: the message could contain a value from the request.
            _log.error("token API: failed", error=type(error).__name__)
            raise ApiError(500, "An internal error occurred.") from None

    return endpoint


def _managed(services: Services) -> ApiError:
    url = services.own_store.coder
    return ApiError(
        404,
        "Users and tokens are managed by Coder.",
        f"Manage them in Coder: {url}" if url else "Manage them in Coder's dashboard or API.",
    )
