"""Exchange the JWT of a machine for a short-lived token of a service account.

Both RFC 8693 (token exchange) and RFC 7523 (JWT as an authorization grant) carry the same JWT; they
differ in the names of parameters only.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import structlog

from authz.config.machines import MAX_LIFETIME_SECONDS, MachineRule, Machines
from authz.errors import StoreError
from authz.fetcher import IssuerUnavailable
from authz.identity.accounts import User
from authz.identity.audit import Actor
from authz.identity.names import check_token_name
from authz.identity.store import Store
from authz.identity.store_keys import NameTaken, OwnerChanged
from authz.oauth.claims import matches
from authz.oauth.issuers import Claims, InvalidJwt, Issuer, issuer_of
from authz.oauth.token_endpoint import Grant, OAuthError, TokenRequest
from authz.printable import printable
from authz.secret import Secret

_log = structlog.get_logger(__name__)

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TYPE = "urn:ietf:params:oauth:token-type:"
_ACCESS_TOKEN = f"{_TYPE}access_token"
_SUBJECT_TYPES = (f"{_TYPE}jwt", f"{_TYPE}id_token")
MAX_LIVE_TOKENS = 1000
"""The most tokens of one rule that are valid at a time."""
_NAME_LENGTH = 64
_SINGLE_USE_SECONDS = 24 * 3600
"""The longest life of a JWT that may be exchanged once."""
_KEEP_SECONDS = 3600
"""The time for which the record of a token that ended is kept, for people who look at it."""
_PRUNE_SECONDS = 600.0


class MachineGrants:
    """The grants for machines.

    Args:
        settings: the issuers and rules.
    """

    def __init__(self, settings: Machines) -> None:
        self._rules = settings.rules
        self._settings = {one.issuer: one for one in settings.issuers}
        self._issuers = {
            one.issuer: Issuer(one.issuer, ca_file=one.ca_file, jwks_file=one.jwks_file)
            for one in settings.issuers
        }
        self._pruned: dict[str, float] = {}

    @property
    def grants(self) -> Mapping[str, Grant]:
        """The grants by ``grant_type``."""
        return {TOKEN_EXCHANGE: self._exchange, JWT_BEARER: self._bearer}

    async def close(self) -> None:
        """Close the connections to the issuers."""
        for issuer in self._issuers.values():
            await issuer.close()

    @property
    def rules(self) -> Sequence[MachineRule]:
        """The rules, in the order in which they are tried."""
        return self._rules

    async def verify(self, text: Secret) -> Claims:
        """Return the claims of a JWT of a configured issuer; ``iss`` names it.

        Raises:
            InvalidJwt: the JWT is not valid.
            IssuerUnavailable: the issuer's keys can't be fetched.
        """
        issuer = self._issuers.get(issuer_of(text))
        if issuer is None:
            raise InvalidJwt("its issuer is not one of sign_in.machines.issuers")
        settings = self._settings[issuer.url]
        claims = await issuer.verify(text, settings.audience)
        if settings.single_use:
            if not claims.get("jti"):
                raise InvalidJwt("it has no jti claim, which single_use needs")
            if claims["exp"] > time.time() + _SINGLE_USE_SECONDS:
                raise InvalidJwt("it is valid for more than a day, too long for single_use")
        return claims

    async def match(self, text: Secret) -> tuple[MachineRule, Claims]:
        """Return the first rule that matches a JWT, and the verified claims.

        Raises:
            InvalidJwt: the JWT is not valid, or no rule matches it.
            IssuerUnavailable: the issuer's keys can't be fetched.
        """
        claims = await self.verify(text)
        for rule in self._rules:
            if rule.issuer == claims["iss"] and matches(rule.claims, claims):
                return rule, claims
        raise InvalidJwt("no rule of sign_in.machines matches its claims")

    async def _exchange(self, request: TokenRequest) -> Mapping[str, Any]:
        if request.require("subject_token_type") not in _SUBJECT_TYPES:
            kinds = " or ".join(_SUBJECT_TYPES)
            raise OAuthError("invalid_request", f"The subject_token_type must be {kinds}.")
        if request.form.get("requested_token_type", _ACCESS_TOKEN) != _ACCESS_TOKEN:
            message = f"The requested_token_type must be {_ACCESS_TOKEN}."
            raise OAuthError("invalid_request", message)
        if "actor_token" in request.form:
            raise OAuthError("invalid_request", "Delegation (actor_token) is not supported.")
        if "scope" in request.form:
            # A token that may do more than the client asked for would be a surprise.
            raise OAuthError("invalid_scope", "There are no scopes: the rule limits the token.")
        response = await self._issue(request, Secret(request.require("subject_token")))
        return {**response, "issued_token_type": _ACCESS_TOKEN}

    async def _bearer(self, request: TokenRequest) -> Mapping[str, Any]:
        return await self._issue(request, Secret(request.require("assertion")))

    async def _issue(self, request: TokenRequest, text: Secret) -> Mapping[str, Any]:
        try:
            # A file with a JWT often ends with a newline.
            rule, claims = await self.match(Secret(text.reveal().strip()))
        except InvalidJwt as error:
            _log.info("machine token refused", why=str(error), peer=request.peer)
            raise OAuthError("invalid_grant", f"The JWT is refused: {error}.") from None
        except IssuerUnavailable as error:
            _log.warning("machine token not decided", why=str(error))
            message = "The issuer's keys can't be fetched. Try again."
            raise OAuthError("temporarily_unavailable", message, 503, 30) from None
        token = await self._create(request, rule, claims)
        lifetime = int(rule.lifetime)
        return {"access_token": token, "token_type": "Bearer", "expires_in": lifetime}

    async def _create(self, request: TokenRequest, rule: MachineRule, claims: Claims) -> str:
        subject = printable(str(claims.get("sub", "")))
        actor = Actor("nobody", f"{rule.name}: {subject}", ip=request.peer)
        store = request.store.acting(actor)
        user = await store.find_user(rule.service_account)
        if user is None or not user.is_service_account or user.status == "suspended":
            _log.warning("machine token refused", why="no active service account", rule=rule.name)
            text = f"The service account of rule {rule.name} does not exist or is suspended."
            raise OAuthError("invalid_grant", text)
        if await store.count_live_tokens(user, f"{rule.name}.") >= MAX_LIVE_TOKENS:
            _log.warning("machine token refused", why="too many valid tokens", rule=rule.name)
            text = f"Rule {rule.name} has {MAX_LIVE_TOKENS} valid tokens. Try again later."
            raise OAuthError("slow_down", text, 429, 60)
        if user.status == "dormant":
            user = await store.wake(user)
        single = self._settings[rule.issuer].single_use
        mark = _mark(claims) if single else secrets.token_hex(4)
        try:
            token, key = await store.create_token(
                user, token_name(rule.name, subject, mark), timedelta(seconds=rule.lifetime),
                rule.rules, for_machine=True,
            )  # fmt: skip
        except NameTaken:
            message = "The JWT was exchanged before. Get a new one." if single else "Try again."
            raise OAuthError("invalid_grant", message) from None
        except OwnerChanged:
            message = "The service account was changed meanwhile. Try again."
            raise OAuthError("invalid_grant", message) from None
        _log.info("machine token created", rule=rule.name, subject=subject, token=key.id)
        await self._prune(store, user, rule)
        return token

    async def _prune(self, store: Store, user: User, rule: MachineRule) -> None:
        """Delete the records of tokens that ended, which are many more than people have."""
        if (now := time.monotonic()) - self._pruned.get(rule.name, -inf) < _PRUNE_SECONDS:
            return
        self._pruned[rule.name] = now
        # The record of a JWT that may be exchanged once has to outlive the JWT.
        keep = _SINGLE_USE_SECONDS if self._settings[rule.issuer].single_use else 0
        before = datetime.now(UTC) - timedelta(seconds=keep + _KEEP_SECONDS)
        # The role of the database may not be allowed to delete keys.
        with suppress(StoreError):
            await store.forget_tokens(user, f"{rule.name}.", MAX_LIFETIME_SECONDS, before)


def token_name(rule: str, subject: str, mark: str) -> str:
    """Return the name of a token: the rule, the subject and a mark, of at most 64 characters.

    A subject that is too long loses its middle, since some end and some begin with what tells them
    apart.
    """
    room = _NAME_LENGTH - len(rule) - len(mark) - 2
    half = (room - 2) // 2
    short = subject if len(subject) <= room else f"{subject[:half]}..{subject[-half:]}"
    name = f"{rule}.{short}.{mark}"
    # A subject may make the name look like a token.
    return name if check_token_name(name) is None else f"{rule}.{mark}"


def _mark(claims: Claims) -> str:
    """Return the end of a token's name that is the same for the same JWT.

    Names are unique among the tokens of a service account, in the database, and so on every
    replica.
    """
    text = json.dumps([claims["iss"], claims["jti"]])
    return hashlib.sha256(text.encode()).hexdigest()[:20]
