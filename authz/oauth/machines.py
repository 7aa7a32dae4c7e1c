"""Exchange the JWT of a machine for a short-lived token of a service account.

Both RFC 8693 (token exchange) and RFC 7523 (JWT as an authorization grant) carry the same JWT; they
differ in the names of parameters only.
"""

import fnmatch
import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import structlog

from authz.config.machines import MachineRule, Machines, flat_patterns
from authz.identity.audit import Actor
from authz.identity.store import NameTaken, OwnerChanged
from authz.oauth.documents import IssuerUnavailable
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
_NAME_SUBJECT_LENGTH = 20


class MachineGrants:
    """The grants for machines.

    Args:
        settings: the issuers and rules.
    """

    def __init__(self, settings: Machines) -> None:
        self._rules = settings.rules
        self._audiences = {one.issuer: one.audience for one in settings.issuers}
        self._issuers = {
            one.issuer: Issuer(one.issuer, ca_file=one.ca_file, jwks_file=one.jwks_file)
            for one in settings.issuers
        }

    @property
    def grants(self) -> Mapping[str, Grant]:
        """The grants by ``grant_type``."""
        return {TOKEN_EXCHANGE: self._exchange, JWT_BEARER: self._bearer}

    async def close(self) -> None:
        """Close the connections to the issuers."""
        for issuer in self._issuers.values():
            await issuer.close()

    async def match(self, text: Secret) -> tuple[MachineRule, Claims]:
        """Return the rule that applies to a JWT, and the verified claims.

        Raises:
            InvalidJwt: the JWT is not valid, or no rule matches it.
            IssuerUnavailable: the issuer's keys can't be fetched.
        """
        issuer = self._issuers.get(issuer_of(text))
        if issuer is None:
            raise InvalidJwt("its issuer is not one of sign_in.machines.issuers")
        claims = await issuer.verify(text, self._audiences[issuer.url])
        rules = (rule for rule in self._rules if rule.issuer == issuer.url)
        rule = next((rule for rule in rules if matches(rule.claims, claims)), None)
        if rule is None:
            raise InvalidJwt("no rule of sign_in.machines matches its claims")
        return rule, claims

    async def _exchange(self, request: TokenRequest) -> Mapping[str, Any]:
        if request.require("subject_token_type") not in _SUBJECT_TYPES:
            kinds = " or ".join(_SUBJECT_TYPES)
            raise OAuthError("invalid_request", f"The subject_token_type must be {kinds}.")
        if request.form.get("requested_token_type", _ACCESS_TOKEN) != _ACCESS_TOKEN:
            message = f"The requested_token_type must be {_ACCESS_TOKEN}."
            raise OAuthError("invalid_request", message)
        if "actor_token" in request.form:
            raise OAuthError("invalid_request", "Delegation (actor_token) is not supported.")
        response = await self._issue(request, Secret(request.require("subject_token")))
        return {**response, "issued_token_type": _ACCESS_TOKEN}

    async def _bearer(self, request: TokenRequest) -> Mapping[str, Any]:
        return await self._issue(request, Secret(request.require("assertion")))

    async def _issue(self, request: TokenRequest, text: Secret) -> Mapping[str, Any]:
        try:
            rule, claims = await self.match(text)
        except InvalidJwt as error:
            _log.info("machine token refused", why=str(error), peer=request.peer)
            raise OAuthError("invalid_grant", f"The JWT is refused: {error}.") from None
        except IssuerUnavailable as error:
            _log.warning("machine token not decided", why=str(error))
            message = "The issuer's keys can't be fetched. Try again."
            raise OAuthError("temporarily_unavailable", message, 503, 30) from None
        subject = printable(str(claims.get("sub", "")))
        token = await self._create(request, rule, subject)
        lifetime = int(rule.lifetime)
        return {"access_token": token, "token_type": "Bearer", "expires_in": lifetime}

    async def _create(self, request: TokenRequest, rule: MachineRule, subject: str) -> str:
        actor = Actor("nobody", printable(f"{rule.name}: {subject}"), ip=request.peer)
        store = request.store.acting(actor)
        user = await store.find_user(rule.service_account)
        if user is None or not user.is_service_account or user.status == "suspended":
            _log.warning("machine token refused", why="no active service account", rule=rule.name)
            text = f"The service account of rule {rule.name} does not exist or is suspended."
            raise OAuthError("invalid_grant", text)
        prefix = f"{rule.name}."
        live = await store.list_tokens(user)
        if sum(key.token_name.startswith(prefix) for key in live) >= MAX_LIVE_TOKENS:
            text = f"Rule {rule.name} has {MAX_LIVE_TOKENS} valid tokens. Try again later."
            raise OAuthError("slow_down", text, 429, 60)
        if user.status == "dormant":
            user = await store.wake(user)
        # A random end, since a workload may exchange its JWT several times.
        name = f"{prefix}{subject[-_NAME_SUBJECT_LENGTH:].strip()}.{secrets.token_hex(4)}"
        try:
            text, _key = await store.create_token(
                user, name, timedelta(seconds=rule.lifetime), rule.rules
            )
        except (NameTaken, OwnerChanged):
            message = "The service account was changed meanwhile. Try again."
            raise OAuthError("invalid_grant", message) from None
        return text


def matches(patterns: Mapping[str, Any], claims: Claims) -> bool:
    """Return whether every pattern matches its claim.

    Args:
        patterns: glob patterns by the name of the claim, nested as the claims are.
        claims: the verified claims. A list matches if one of its items does. A claim that is
            missing or an object matches nothing.
    """
    return all(
        any(fnmatch.fnmatchcase(text, pattern) for text in _texts(claims, path))
        for path, pattern in flat_patterns(patterns)
    )


def _texts(claims: Claims, path: Iterable[str]) -> list[str]:
    """Return the texts of a claim: one, or those of a list."""
    value: Any = claims
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return []
        value = value[name]
    values = value if isinstance(value, list) else [value]
    return [_text(one) for one in values if isinstance(one, str | int)]


def _text(value: str | int) -> str:
    # JSON's spelling, as in the documentation of issuers.
    return str(value).lower() if isinstance(value, bool) else str(value)
