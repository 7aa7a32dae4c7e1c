"""The grants of the device flow: a device code, and refresh tokens that rotate."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from authz import lifetimes
from authz.config.claude_code import ClaudeCode
from authz.core.device import read_refresh_token
from authz.core.rules import make_rules
from authz.identity.accounts import User
from authz.identity.audit import Actor
from authz.identity.store_devices import DeviceRequest, DeviceStore, PollRefused
from authz.identity.store_refresh import Issued, RefreshRefused
from authz.oauth.token_endpoint import Grant, OAuthError, TokenRequest

_log = structlog.get_logger(__name__)

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a name
CLAUDE_CODE, SESSION = "claude-code", "session"
"""Kinds of sign-ins: Claude Code gets a short token, ``authz login`` a session."""

_MESSAGES = {
    "authorization_pending": "A person has to approve the code.",
    "slow_down": "Poll 5 seconds less often.",
    "access_denied": "The sign-in was denied.",
    "expired_token": "The code has expired. Start again.",
    "invalid_grant": "The device code is unknown or was used.",
}


class DeviceGrants:
    """The grants of the device flow.

    Args:
        settings: of the sign-in.
    """

    def __init__(self, settings: ClaudeCode) -> None:
        self._settings = settings

    @property
    def grants(self) -> Mapping[str, Grant]:
        """The grants by ``grant_type``."""
        return {DEVICE_CODE: self._device_code, REFRESH_TOKEN: self._refresh}

    async def _device_code(self, request: TokenRequest) -> Mapping[str, Any]:
        code = request.require("device_code")
        try:
            return _answer(await self._exchange(request, code))
        except PollRefused as error:
            raise OAuthError(str(error), _MESSAGES[str(error)]) from None

    async def _exchange(self, request: TokenRequest, code: str) -> Issued:
        found = await request.store.part(DeviceStore).poll(code)
        user = await request.store.find_user_by_id(found.user_id or "")
        if user is None or user.status == "suspended":
            raise PollRefused("access_denied")
        store = _acting(request, user)
        if user.status == "dormant":
            user = await store.wake(user)
        if found.kind == SESSION:
            issued = await store.exchange_for_session(code, user, lifetimes.SESSION)
        else:
            lifetime = timedelta(seconds=self._settings.token_lifetime)
            rules = make_rules([found.provider] if found.provider else None)
            issued = await store.exchange_device_code(code, user, _name(found), lifetime, rules)
        _log.info("device signed in", user=user.username, client=found.client, peer=request.peer)
        return issued

    async def _refresh(self, request: TokenRequest) -> Mapping[str, Any]:
        given = read_refresh_token(request.require("refresh_token"))
        settings = self._settings
        try:
            if given is None:
                raise RefreshRefused("malformed")
            store = request.store.acting(Actor("nobody", "refresh token", ip=request.peer))
            issued = await store.part(DeviceStore).refresh(
                given,
                timedelta(seconds=settings.token_lifetime),
                timedelta(seconds=settings.refresh_grace),
                timedelta(days=settings.sign_in_days),
            )
        except RefreshRefused as error:
            _log.info("refresh token refused", why=str(error), peer=request.peer)
            # 401 sends the person back to the browser.
            raise OAuthError(
                "invalid_grant", "The sign-in has ended. Sign in again.", 401
            ) from None
        return _answer(issued)


def _acting(request: TokenRequest, user: User) -> DeviceStore:
    actor = Actor("user", user.username, user.id, None, request.peer)
    return request.store.acting(actor).part(DeviceStore)


def _name(found: DeviceRequest) -> str:
    """Return the name of a token, which is unique among the user's tokens."""
    return f"{found.client} on {found.ip} {secrets.token_hex(3)}"


def _answer(issued: Issued) -> Mapping[str, Any]:
    """Return the JSON of RFC 6749 section 5.1. Claude Code shows ``email`` to be confirmed."""
    body: dict[str, Any] = {
        "access_token": issued.access,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
    }
    if issued.refresh:
        body["refresh_token"] = issued.refresh
    if issued.user.email:
        body["email"] = issued.user.email
    return body
