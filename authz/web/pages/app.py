"""The pages as an application: from a request to its page."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.errors import ManagedByCoder, StoreError
from authz.identity.store_base import ActorGone
from authz.web.pages import audit, sign_in, tokens, usage, users
from authz.web.pages.context import VISITOR_COOKIE, Pages, Visit, visit_of
from authz.web.pages.forms import check_origin, read_form
from authz.web.pages.responses import BASE, HEADERS, PageError, not_found, page, see, static
from authz.web.routing import without_slash_redirects

_log = structlog.get_logger(__name__)

_FAILED = "Something went wrong here."
_NO_SUCH_METHOD = "This address takes no such request. Go back, reload and try again."

Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A path behind ``/ui``.

    Attributes:
        get: shows it; None where there is nothing to see.
        post: takes its form, whose CSRF token is checked by then.
        is_open: for whoever is not signed in.
    """

    path: str
    get: Handler | None = None
    post: Handler | None = None
    is_open: bool = False


_TOKENS, _USER = "/account/tokens", "/users/{user}"
_PLACES = (
    _Place("/sign-in", sign_in.show_sign_in, sign_in.sign_in, is_open=True),
    _Place("/first-administrator", sign_in.show_first, sign_in.set_first, is_open=True),
    _Place("/sign-out", None, sign_in.sign_out),
    _Place(_TOKENS, tokens.show_tokens),
    *(
        place
        for prefix in (_TOKENS, f"{_USER}/tokens")
        for place in (
            _Place(f"{prefix}/new", tokens.show_new, tokens.create),
            _Place(f"{prefix}/{{key}}/created", tokens.show_created),
            _Place(f"{prefix}/{{key}}/delete", tokens.ask_delete, tokens.delete),
            _Place(f"{prefix}/{{key}}/expire", tokens.ask_expire, tokens.expire),
        )
    ),
    _Place("/users", users.show_users),
    _Place("/users/new", users.show_new, users.create),
    _Place(_USER, users.show_user),
    _Place(f"{_USER}/delete", users.ask_delete, users.delete),
    _Place(f"{_USER}/status", None, users.set_status),
    _Place(f"{_USER}/role", None, users.set_role),
    _Place(f"{_USER}/password", None, users.set_password),
    _Place("/usage", usage.show_usage),
    _Place("/audit", audit.show_audit),
)
"""The first that matches serves: ``/users/new`` comes before ``/users/{user}``."""


def create_pages(pages: Pages) -> Starlette:
    """Build the application, to be mounted at ``/ui``.

    It authenticates by itself: Envoy lets its paths pass without asking.
    """

    async def static_file(request: Request) -> Response:
        return static(request.path_params["name"])

    async def front(_request: Request) -> Response:
        return see(_TOKENS)

    routes = [Route("/", front), Route("/static/{name}", static_file)]
    for place in _PLACES:
        methods = [*(["GET"] if place.get else []), *(["POST"] if place.post else [])]
        routes.append(Route(place.path, _endpoint(place, pages), methods=methods))

    async def on_http_error(_request: Request, error: Exception) -> Response:
        """Answer what the framework refuses: an unknown path or method."""
        assert isinstance(error, HTTPException)  # noqa: S101
        if pages.own_store.coder is not None:
            return _managed(pages)
        known = {404: not_found(), 405: PageError(405, _NO_SUCH_METHOD, error.headers)}
        other = PageError(error.status_code, _FAILED, error.headers)
        return _error_page(known.get(error.status_code, other))

    return without_slash_redirects(
        Starlette(
            routes=routes,
            exception_handlers={PageError: _on_page_error, HTTPException: on_http_error},
        )
    )


def _endpoint(place: _Place, pages: Pages) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        check_origin(request)
        try:
            visit = await visit_of(request, pages, await pages.own_store.get())
            return await _serve(place, visit)
        except ManagedByCoder:
            return _managed(pages)
        except ActorGone:
            return see("/sign-in")
        except StoreError as error:
            _log.error("page: store failed", why=str(error))
            raise PageError(503, "The store can't be used now.", {"retry-after": "2"}) from None
        except (PageError, HTTPException):
            raise
        except Exception as error:
            # The type alone: a message could quote what the request brought.
            _log.error("page: failed", error=type(error).__name__)
            raise PageError(500, _FAILED) from None

    return endpoint


async def _serve(place: _Place, visit: Visit) -> Response:
    if visit.proven is None and not place.is_open:
        here = visit.request.url.path if visit.request.method in ("GET", "HEAD") else ""
        return see(f"/sign-in?next={quote(here)}" if here else "/sign-in")
    if visit.request.method == "POST":
        assert place.post is not None  # noqa: S101 - the route takes none else
        return await place.post(visit.with_form(await read_form(visit.request, visit.secret)))
    assert place.get is not None  # noqa: S101
    if visit.secret:
        return await place.get(visit)
    visitor = secrets.token_urlsafe(32)
    response = await place.get(visit.with_secret(visitor))
    response.set_cookie(
        VISITOR_COOKIE,
        visitor,
        path=BASE,
        httponly=True,
        samesite="lax",
        secure=visit.pages.secure,
    )
    return response


def _managed(pages: Pages) -> Response:
    where = pages.own_store.coder
    return page("managed.html", caller=None, here="", coder=where)


async def _on_page_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PageError)  # noqa: S101 - registered for it alone
    return _error_page(error)


def _error_page(error: PageError) -> Response:
    return page(
        "error.html",
        error.status,
        {**HEADERS, **error.headers},
        caller=None,
        here="",
        message=error.message,
    )
