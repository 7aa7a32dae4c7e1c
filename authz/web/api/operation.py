"""Describe one operation of the token API, for its route and for the OpenAPI document."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel
from starlette.responses import Response

from authz.web.api.call import Call, UserCall

ERRORS = {
    400: "the request is malformed or comes from another site's page",
    401: "there is no valid token",
    404: "it does not exist, or the caller may not see it",
    503: "the identity store is not available",
}
"""Errors of every operation for callers with a token."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path.

    Attributes:
        path: below ``/api/v2``, with ``{user}``, ``{name}``, ``{key}``, ``{provider}``,
            ``{group}``, ``{budget}`` and ``{organization}``.
        status: status of a success.
        response: body of a success; None if it is empty.
        is_list: the body is a list of ``response``, or null.
        body: body of the request; None if it has none.
        query: names and JSON types of query parameters.
        errors: meaning of each error status.
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Response]] | None
    user_handler: Callable[[UserCall], Awaitable[Response]] | None
    status: int
    response: type[BaseModel] | None
    body: type[BaseModel] | None = None
    is_list: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One sentence that says what the operation does."""
        handler = self.handler or self.user_handler
        return (handler.__doc__ or "").partition("\n")[0] if handler else ""


def open_to_all(
    method: str,
    path: str,
    handler: Callable[[Call], Awaitable[Response]],
    status: int,
    response: type[BaseModel],
    errors: Mapping[int, str],
    body: type[BaseModel] | None = None,
) -> Operation:
    """Return an operation that needs no token."""
    return Operation(method, path, handler, None, status, response, body, errors=errors)


def of_users(
    method: str,
    path: str,
    handler: Callable[[UserCall], Awaitable[Response]],
    status: int,
    response: type[BaseModel] | None,
    *,
    body: type[BaseModel] | None = None,
    is_list: bool = False,
    query: Mapping[str, str] | None = None,
    errors: Mapping[int, str] | None = None,
) -> Operation:
    """Return an operation for callers with a token."""
    return Operation(
        method,
        path,
        None,
        handler,
        status,
        response,
        body,
        is_list,
        query or {},
        {**ERRORS, **(errors or {})},
    )
