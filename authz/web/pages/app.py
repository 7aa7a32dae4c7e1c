"""Build the application that serves the pages."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
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
from authz.web.pages import (
    audit,
    budgets,
    cli_sign_in,
    device,
    explanation,
    groups,
    overview,
    own_keys,
    password,
    rules,
    sign_in,
    tokens,
    usage,
    users,
)
from authz.web.pages.context import VISITOR_COOKIE, PageContext, Pages, page_context
from authz.web.pages.forms import check_origin, read_form
from authz.web.pages.responses import BASE, HEADERS, PageError, not_found, page, see, static
from authz.web.routing import without_slash_redirects

_log = structlog.get_logger(__name__)

_FAILED = "An internal error occurred. Try again, or ask your administrator to read the log."
_NO_SUCH_METHOD = "This address does not accept this request. Go back, reload and try again."

Handler = Callable[[PageContext], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """A path below ``/ui``.

    Attributes:
        get: handles GET; None if the path only accepts forms.
        post: handles a form after its CSRF token is checked; None if the path has no form.
        is_open: needs no session.
    """

    path: str
    get: Handler | None = None
    post: Handler | None = None
    is_open: bool = False


_TOKENS, _USER, _GROUP = "/account/tokens", "/users/{user}", "/groups/{group}"
_PAGES = (
    Page("/sign-in", sign_in.show_sign_in, sign_in.sign_in, is_open=True),
    Page("/first-administrator", sign_in.show_first, sign_in.set_first, is_open=True),
    Page("/sign-out", None, sign_in.sign_out),
    Page("/cli/{port}/{state}/{challenge}", cli_sign_in.ask, cli_sign_in.approve),
    Page(_TOKENS, tokens.show_tokens),
    *(
        route
        for prefix in (_TOKENS, f"{_USER}/tokens")
        for route in (
            Page(f"{prefix}/new", tokens.show_new, tokens.create),
            Page(f"{prefix}/{{key}}/created", tokens.show_created),
            Page(f"{prefix}/{{key}}/rotate", tokens.ask_rotate, tokens.rotate),
            Page(f"{prefix}/{{key}}/delete", tokens.ask_delete, tokens.delete),
            Page(f"{prefix}/{{key}}/expire", tokens.ask_expire, tokens.expire),
        )
    ),
    Page(password.PATH, password.show_form, password.change),
    Page(own_keys.PATH, own_keys.show_own_keys, own_keys.set_own_key),
    Page(f"{own_keys.PATH}/{{provider}}/delete", own_keys.ask_delete, own_keys.delete),
    Page("/users", users.show_users),
    Page("/users/new", users.show_new, users.create),
    Page(_USER, users.show_user),
    Page(f"{_USER}/delete", users.ask_delete, users.delete),
    Page(f"{_USER}/status", None, users.set_status),
    Page(f"{_USER}/role", None, users.set_role),
    Page(f"{_USER}/password", None, users.set_password),
    Page("/account/access", explanation.show_own),
    Page(f"{_USER}/access", explanation.show_of_user),
    Page("/groups", groups.show_groups),
    Page("/groups/new", groups.show_new, groups.create),
    Page(_GROUP, groups.show_group),
    Page(f"{_GROUP}/edit", None, groups.edit),
    Page(f"{_GROUP}/members/add", None, groups.add_member),
    Page(f"{_GROUP}/members/remove", None, groups.remove_member),
    Page(f"{_GROUP}/delete", groups.ask_delete, groups.delete),
    Page("/device", device.show_code, device.find),
    Page("/device/decide", None, device.decide),
    Page("/device/{code}", device.show_code),
    Page(budgets.PATH, budgets.show_budgets, budgets.set_budget),
    Page(f"{budgets.PATH}/{{budget}}/remove", budgets.ask_remove, budgets.remove),
    Page(rules.PATH, rules.show_rules, rules.set_rule),
    Page(f"{rules.PATH}/{{owner}}/{{owner_id}}/{{kind}}/remove", rules.ask_remove, rules.remove),
    Page("/overview", overview.show_overview),
    Page("/usage", usage.show_usage),
    Page("/usage/csv", usage.download),
    Page("/audit", audit.show_audit),
)
"""In order of precedence: ``/users/new`` comes before ``/users/{user}``."""


def create_pages(pages: Pages, more: Sequence[Page] = ()) -> Starlette:
    """Build the application, to be mounted at ``/ui``.

    It authenticates every request itself: Envoy does not check requests to its paths.

    Args:
        pages: the services that all pages share.
        more: the pages of capabilities that are switched on.
    """

    async def static_file(request: Request) -> Response:
        return static(request.path_params["name"])

    async def front(_request: Request) -> Response:
        return see(_TOKENS)

    routes = [Route("/", front), Route("/static/{name}", static_file)]
    # A command's request has no cookie and no form of a page.
    routes.append(Route("/cli/token", cli_sign_in.token_endpoint(pages), methods=["POST"]))
    for route in (*_PAGES, *more):
        methods = [*(["GET"] if route.get else []), *(["POST"] if route.post else [])]
        routes.append(Route(route.path, _endpoint(route, pages), methods=methods))

    async def on_http_error(_request: Request, error: Exception) -> Response:
        """Return the page for an unknown path or method."""
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


def _endpoint(route: Page, pages: Pages) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        check_origin(request)
        try:
            context = await page_context(request, pages, await pages.own_store.get())
            return await _serve(route, context)
        except ManagedByCoder:
            return _managed(pages)
        except ActorGone:
            return see("/sign-in")
        except StoreError as error:
            _log.error("page: store failed", why=str(error))
            raise PageError(
                503,
                "The identity store is not available. Try again in a moment.",
                {"retry-after": "2"},
            ) from None
        except (PageError, HTTPException):
            raise
        except Exception as error:
            # Only the type: the message could contain a value from the request.
            _log.error("page: failed", error=type(error).__name__)
            raise PageError(500, _FAILED) from None

    return endpoint


async def _serve(route: Page, context: PageContext) -> Response:
    if context.authenticated is None and not route.is_open:
        here = context.request.url.path if context.request.method in ("GET", "HEAD") else ""
        return see(f"/sign-in?next={quote(here)}" if here else "/sign-in")
    if context.request.method == "POST":
        assert route.post is not None  # noqa: S101 - the route accepts no other method
        return await route.post(context.with_form(await read_form(context.request, context.secret)))
    assert route.get is not None  # noqa: S101
    if context.secret:
        return await route.get(context)
    visitor = secrets.token_urlsafe(32)
    response = await route.get(context.with_secret(visitor))
    response.set_cookie(
        VISITOR_COOKIE,
        visitor,
        path=BASE,
        httponly=True,
        samesite="lax",
        secure=context.pages.secure,
    )
    return response


def _managed(pages: Pages) -> Response:
    return page("managed.html", caller=None, here="", coder=pages.own_store.coder)


async def _on_page_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PageError)  # noqa: S101 - registered only for it
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
