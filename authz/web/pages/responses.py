"""Answers to a browser: templates, redirects, and the headers of all of them."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

BASE = "/ui"
"""Where the pages are; a provider of that name has its paths first (``docs/page.md``)."""

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Not `no-referrer`: with that a browser says `Origin: null` for our own forms.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of every answer (OWASP HTTP Headers Cheat Sheet). What it is needs no script or style inline."""

_FOLDER = Path(__file__).parent
_STATIC_TYPES = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}


class PageError(Exception):
    """An answer that is no success.

    Args:
        status: HTTP status.
        message: one sentence for a person; it quotes nothing that was given.
        headers: further ones.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def not_found() -> PageError:
    """Say that there is no such thing, or that it is none of the caller's business."""
    return PageError(404, "There is no such page, or it is not yours to see.")


def page(
    template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """Return a page.

    Args:
        template: a file of ``templates/``.
        status: HTTP status.
        headers: further ones.
        values: what the template shows; all of it is escaped.
    """
    text = _environment().get_template(template).render(**values)
    return HTMLResponse(text, status, headers={**HEADERS, **(headers or {})})


def see(path: str) -> Response:
    """Send the browser on to one of our own pages, with GET.

    Args:
        path: behind ``BASE``; made of our own words and ids, never of what a client sent.
    """
    return RedirectResponse(f"{BASE}{path}", 303, headers=HEADERS)


def static(name: str) -> Response:
    """Return a file of the page.

    Raises:
        PageError: 404 when there is none of that name.
    """
    if name not in _STATIC_TYPES:
        raise not_found()
    # Its URL changes with its content.
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
    environment.filters.update(moment=_moment, day=_day, count=_count, iso=_iso)
    return environment


def _moment(value: datetime | None) -> str:
    return "never" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _day(value: datetime | None) -> str:
    return "never" if value is None else f"{value.astimezone(UTC):%Y-%m-%d}"


def _iso(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _count(value: int) -> str:
    return f"{value:,}"
