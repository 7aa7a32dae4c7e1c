"""The pages of the sign-in with OpenID providers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from authz.config.settings import Config
from authz.core.tokens import ID_LENGTH
from authz.fetcher import IssuerUnavailable
from authz.oidc.accounts import user_of
from authz.oidc.pending import SECONDS, Pending
from authz.oidc.profile import ProfileRefused, read_profile
from authz.oidc.provider import OidcFailed, Proven, Provider
from authz.secret import Secret
from authz.web.pages.app import Page
from authz.web.pages.context import ID_TOKEN_COOKIE, SESSION_COOKIE, PageContext
from authz.web.pages.responses import BASE, HEADERS, PageError, not_found
from authz.web.pages.sign_in import own_path, show_signed_in, too_many
from authz.web.sign_in import SignInRefused, TooManySignIns

_log = structlog.get_logger(__name__)

_SIGN_IN, _SIGN_OUT = f"{BASE}/sign-in", f"{BASE}/sign-out"
_COOKIE = "authz_sign_in"
_MAX_ID_TOKEN = 3000
"""Browsers drop a cookie of more than 4,096 bytes."""
_MAX_QUERY = 16_384


class OidcPages:
    """The sign-in with the OpenID providers of the configuration.

    Args:
        config: the configuration.

    Raises:
        ConfigError: the secret of a provider can't be read.
    """

    def __init__(self, config: Config) -> None:
        self._providers = {one.name: Provider(one) for one in config.sign_in.oidc}

    @property
    def titles(self) -> Mapping[str, str]:
        """The titles of the providers by name."""
        return {name: one.settings.button for name, one in self._providers.items()}

    @property
    def pages(self) -> Sequence[Page]:
        """The pages, below ``/ui``."""
        return (
            Page("/sign-in/{provider}", self._begin, is_open=True),
            Page("/sign-in/{provider}/callback", self._finish, is_open=True),
        )

    async def close(self) -> None:
        """Close the connections to the providers."""
        await asyncio.gather(*(one.close() for one in self._providers.values()))

    async def end_session(self, context: PageContext) -> str | None:
        """Return the URL that signs the caller out at the provider that they signed in with."""
        name, _, text = context.request.cookies.get(ID_TOKEN_COOKIE, "").partition(":")
        provider = self._providers.get(name)
        session = context.authenticated
        if provider is None or session is None or session.key.login_type != "oidc":
            return None
        hint = Secret(text) if text else None
        return await provider.end_session_url(hint, f"{context.origin}{_SIGN_IN}")

    async def _begin(self, context: PageContext) -> Response:
        """Lead the browser to the provider."""
        provider = self._provider(context.request)
        name = provider.settings.name
        pending = Pending.begin(name, own_path(context.request.query_params.get("next", ""))[:512])
        try:
            url = await provider.authorization_url(pending, _redirect_uri(context, name))
        except (IssuerUnavailable, TimeoutError) as error:
            raise _unavailable(provider, error) from None
        response = RedirectResponse(url, 303, headers=HEADERS)
        response.set_cookie(
            _cookie_name(context), pending.write(), max_age=SECONDS, **_cookie(context)
        )
        return response

    async def _finish(self, context: PageContext) -> Response:
        """Sign in the person whom the provider's response proves."""
        provider = self._provider(context.request)
        try:
            context.pages.sign_in.take_attempt(context.peer)
            response = await self._sign_in(provider, context)
        except TooManySignIns as error:
            raise too_many(error.seconds) from None
        except (OidcFailed, ProfileRefused, SignInRefused) as error:
            # The cookie stays: a forged response must not end the sign-in that this browser began.
            raise PageError(403, str(error)) from None
        except IssuerUnavailable as error:
            raise _unavailable(provider, error) from None
        response.delete_cookie(_cookie_name(context), **_cookie(context))
        return response

    async def _sign_in(self, provider: Provider, context: PageContext) -> Response:
        pending = Pending.read(context.request.cookies.get(_cookie_name(context), ""))
        name = provider.settings.name
        if pending is None or pending.provider != name:
            raise OidcFailed("This sign-in began in another browser or has ended. Start again.")
        proven = await provider.redeem(
            _response(context.request), pending, _redirect_uri(context, name)
        )
        profile = read_profile(proven.claims, provider.settings.claims)
        user = await user_of(context.store, provider.settings, profile, context.peer)
        old = context.request.cookies.get(SESSION_COOKIE, "")[:ID_LENGTH] or None
        signed_in = await context.pages.sign_in.by_provider(
            context.store, user, context.peer, instead_of=old
        )
        response = show_signed_in(context, signed_in, pending.next_path)
        _keep_for_logout(response, context, name, proven)
        return response

    def _provider(self, request: Request) -> Provider:
        provider = self._providers.get(request.path_params["provider"])
        if provider is None:
            raise not_found()
        return provider


def _keep_for_logout(response: Response, context: PageContext, name: str, proven: Proven) -> None:
    """Give the browser the ID token, which some providers want to see at the logout."""
    text = proven.id_token.reveal()
    response.set_cookie(
        ID_TOKEN_COOKIE,
        f"{name}:{text if len(text) <= _MAX_ID_TOKEN else ''}",
        # Sent with no other request.
        path=_SIGN_OUT,
        httponly=True,
        samesite="strict",
        secure=_is_secure(context),
    )


def _response(request: Request) -> Mapping[str, str]:
    """Return the parameters of an authorization response."""
    if len(request.url.query) > _MAX_QUERY:
        raise OidcFailed("The answer of your identity provider is too long. Start again.")
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    # RFC 6749 section 3.1: parsers that choose differently would see different responses.
    if len(found) != len(pairs):
        raise OidcFailed("The answer of your identity provider has a parameter twice. Start again.")
    return found


def _redirect_uri(context: PageContext, name: str) -> str:
    return f"{context.origin}{_SIGN_IN}/{name}/callback"


def _is_secure(context: PageContext) -> bool:
    return context.origin.startswith("https://")


def _cookie_name(context: PageContext) -> str:
    # With this prefix, no other host of the domain can set the cookie.
    return f"__Host-{_COOKIE}" if _is_secure(context) else _COOKIE


def _cookie(context: PageContext) -> dict[str, Any]:
    return {"path": "/", "httponly": True, "samesite": "lax", "secure": _is_secure(context)}


def _unavailable(provider: Provider, error: Exception) -> PageError:
    settings = provider.settings
    _log.warning("sign-in: no answer", issuer=settings.issuer, why=str(error) or "timeout")
    text = (
        f"{settings.button} does not answer, so you can't sign in with it now. Who is signed in "
        "stays signed in. Try again in a moment."
    )
    return PageError(503, text, {"retry-after": "5"})
