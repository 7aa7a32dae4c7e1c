"""Build responses for a browser: pages, redirects and static files, with their headers."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from authz.budgets.money import about
from authz.web.pages import times

BASE = "/ui"
"""The path of the pages. A provider with this name takes precedence (``docs/page.md``)."""

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # With `no-referrer` browsers send `Origin: null` with the forms of these pages.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of every response (OWASP HTTP Headers Cheat Sheet)."""

_FOLDER = Path(__file__).parent
_STATIC_TYPES = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}


class PageError(Exception):
    """An error page.

    Args:
        status: HTTP status.
        message: one sentence for a person, without any value from the request.
        headers: additional headers.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def not_found() -> PageError:
    """Return the 404 for what does not exist or the caller may not see."""
    return PageError(404, "This page does not exist, or you may not see it.")


def page(
    template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """Return a page.

    Args:
        template: a file in ``templates/``.
        status: HTTP status.
        headers: additional headers.
        values: values for the template, which escapes them.
    """
    text = _environment().get_template(template).render(**values)
    return HTMLResponse(text, status, headers={**HEADERS, **(headers or {})})


def see(path: str) -> Response:
    """Redirect the browser to another page, with GET.

    Args:
        path: below ``BASE``; never contains text from a request.
    """
    return RedirectResponse(f"{BASE}{path}", 303, headers=HEADERS)


def static(name: str) -> Response:
    """Return a static file.

    Raises:
        PageError: 404 if there is no file of that name.
    """
    if name not in _STATIC_TYPES:
        raise not_found()
    # Browsers may cache it: its URL changes with its content.
    headers = {**HEADERS, "cache-control": "public, max-age=86400"}
    headers["content-type"] = _STATIC_TYPES[name]
    return Response(_static_files()[name], headers=headers)


@cache
def _static_files() -> dict[str, bytes]:
    return {name: (_FOLDER / "static" / name).read_bytes() for name in _STATIC_TYPES}


def _static_url(name: str) -> str:
    digest = hashlib.sha256(_static_files()[name]).hexdigest()[:12]
    return f"{BASE}/static/{name}?v={digest}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(base=BASE, static_url=_static_url)
    environment.filters.update(
        moment=times.moment,
        day=times.day,
        iso=times.iso,
        relative=times.relative,
        count=_count,
        cost=about,
    )
    return environment


def _count(value: int) -> str:
    return f"{value:,}"
