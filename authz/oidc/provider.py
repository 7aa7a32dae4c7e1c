"""Speak with one OpenID provider: authorization code flow with PKCE, UserInfo, logout."""

import asyncio
import base64
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import structlog

from authz.config.oidc import OidcIssuer
from authz.errors import AuthzError, ConfigError
from authz.fetcher import Fetcher, IssuerUnavailable
from authz.oauth.issuers import InvalidJwt, Issuer, is_safe_url
from authz.oidc.pending import Pending
from authz.oidc.profile import find
from authz.secret import Secret

_log = structlog.get_logger(__name__)

_SECONDS = 8.0
"""The time for all requests of one step. Envoy waits for 10 s."""
_MAX_CODE = 4096
_TYPES = ("jwt",)
_KNOWN_ERRORS = ("invalid_grant", "invalid_client", "invalid_request")


class OidcFailed(AuthzError):  # noqa: N818 - the name is the reason
    """The sign-in failed. The message may be shown to the person."""


@dataclass(frozen=True, slots=True)
class Proven:
    """The answer of a provider.

    Attributes:
        claims: verified claims about the person.
        id_token: for the logout at the provider.
    """

    claims: Mapping[str, Any]
    id_token: Secret


class Provider:
    """An OpenID provider.

    Args:
        settings: the provider in ``gateway.yaml``.
        environ: the environment, for the client's secret.

    Raises:
        ConfigError: the client's secret or ``ca_file`` can't be read.
    """

    def __init__(self, settings: OidcIssuer, environ: Mapping[str, str] = os.environ) -> None:
        self.settings = settings
        self._issuer = Issuer(settings.issuer, ca_file=settings.ca_file)
        self._fetcher = Fetcher(settings.ca_file)
        where = f"sign_in.oidc: {settings.name}: client_secret"
        try:
            self._secret = (
                settings.client_secret.open(environ) if settings.client_secret is not None else None
            )
        except OSError as error:
            raise ConfigError([f"{where}: can't be read: {error.strerror}"]) from None
        except ValueError as error:
            raise ConfigError([f"{where}: {error}"]) from None
        if self._secret is not None and self._secret.current() is None:
            raise ConfigError([f"{where}: is not set"])

    async def close(self) -> None:
        """Close the connections."""
        await self._issuer.close()
        await self._fetcher.close()

    async def authorization_url(self, pending: Pending, redirect_uri: str) -> str:
        """Return the URL to send the browser to (OpenID Connect Core 1.0 section 3.1.2.1).

        Raises:
            IssuerUnavailable: the provider's metadata can't be read.
        """
        async with asyncio.timeout(_SECONDS):
            endpoint = await self._endpoint("authorization_endpoint")
        return _with_query(
            endpoint,
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": redirect_uri,
                "scope": " ".join(self.settings.scopes),
                "state": pending.state,
                "nonce": pending.nonce,
                "code_challenge": pending.challenge,
                "code_challenge_method": "S256",
            },
        )

    async def redeem(
        self, response: Mapping[str, str], pending: Pending, redirect_uri: str
    ) -> Proven:
        """Return the claims of the person whom an authorization response proves.

        Args:
            response: the parameters of the response.
            pending: the sign-in that this browser began.
            redirect_uri: exactly as in the request.

        Raises:
            OidcFailed: the response is not an answer to this browser's request, or is an error.
            IssuerUnavailable: the provider does not answer.
        """
        if not hmac.compare_digest(response.get("state", "").encode(), pending.state.encode()):
            raise OidcFailed("This sign-in began in another browser or has ended. Start again.")
        try:
            async with asyncio.timeout(_SECONDS):
                await self._check_issuer(response)
                return await self._redeem(_code(response), pending, redirect_uri)
        except TimeoutError:
            raise IssuerUnavailable(f"{self.settings.issuer} takes too long") from None
        except InvalidJwt as error:
            _log.warning("sign-in: ID token refused", issuer=self.settings.issuer, why=str(error))
            raise OidcFailed(
                f"The ID token of your identity provider is refused: {error}."
            ) from None

    async def end_session_url(self, id_token: Secret | None, back_to: str) -> str | None:
        """Return the URL that signs the person out at the provider; None if it has none."""
        try:
            async with asyncio.timeout(_SECONDS):
                endpoint = await self._endpoint("end_session_endpoint")
        except (IssuerUnavailable, TimeoutError):
            return None
        hint = {"id_token_hint": id_token.reveal()} if id_token is not None else {}
        query = {"client_id": self.settings.client_id, "post_logout_redirect_uri": back_to}
        return _with_query(endpoint, {**query, **hint})

    async def _check_issuer(self, response: Mapping[str, str]) -> None:
        """Refuse the response of another issuer (RFC 9207)."""
        issuer = response.get("iss")
        metadata = await self._issuer.metadata()
        is_needed = metadata.get("authorization_response_iss_parameter_supported") is True
        if issuer != self.settings.issuer and (issuer is not None or is_needed):
            raise OidcFailed("The answer came from another identity provider. Start again.")

    async def _redeem(self, code: str, pending: Pending, redirect_uri: str) -> Proven:
        answer = await self._request_tokens(code, pending, redirect_uri)
        text, access = answer.get("id_token"), answer.get("access_token")
        if not isinstance(text, str):
            raise OidcFailed("Your identity provider sent no ID token: is the scope openid on?")
        id_token = Secret(text)
        claims = await self._issuer.verify(id_token, self.settings.client_id, types=_TYPES)
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode(), pending.nonce.encode()
        ):
            raise InvalidJwt("its nonce is of another sign-in")
        # Section 3.1.3.7: a token for several audiences says who asked for it.
        party = claims.get("azp")
        if party not in (None, self.settings.client_id) or (
            party is None and isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        ):
            raise InvalidJwt("its azp claim is not accepted")
        if self._is_incomplete(claims) and isinstance(access, str):
            claims = await self._with_userinfo(claims, Secret(access))
        return Proven(claims, id_token)

    async def _request_tokens(
        self, code: str, pending: Pending, redirect_uri: str
    ) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": pending.verifier,
        }
        endpoint = await self._endpoint("token_endpoint")
        headers = await self._authenticate(form)
        answer = await self._fetcher.post(endpoint, form, headers)
        if "error" not in answer:
            return answer
        error = str(answer["error"])
        # The word is the provider's, and comes from a list of RFC 6749.
        known = error if error in _KNOWN_ERRORS else "other"
        _log.warning("sign-in: token refused", issuer=self.settings.issuer, error=known)
        if known == "invalid_grant":
            raise OidcFailed("The code of this sign-in was used or has expired. Start again.")
        raise OidcFailed("Your identity provider refuses this gateway. Ask an administrator.")

    async def _authenticate(self, form: dict[str, str]) -> Mapping[str, str]:
        """Return the headers that authenticate this client, or add its secret to the form."""
        secret = self._secret.current() if self._secret is not None else None
        client_id = self.settings.client_id
        if secret is None:
            form["client_id"] = client_id
            return {}
        metadata = await self._issuer.metadata()
        methods = metadata.get("token_endpoint_auth_methods_supported")
        if isinstance(methods, list) and "client_secret_basic" not in methods:
            form |= {"client_id": client_id, "client_secret": secret.reveal()}
            return {}
        # RFC 6749 section 2.3.1: both parts are form-encoded first.
        pair = f"{quote(client_id, safe='')}:{quote(secret.reveal(), safe='')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def _is_incomplete(self, claims: Mapping[str, Any]) -> bool:
        names = self.settings.claims
        wanted = (names.username, names.name, names.email, names.groups)
        return any(find(claims, name) is None for name in wanted)

    async def _with_userinfo(self, claims: Mapping[str, Any], access: Secret) -> Mapping[str, Any]:
        metadata = await self._issuer.metadata()
        if "userinfo_endpoint" not in metadata:
            return claims
        endpoint = await self._endpoint("userinfo_endpoint")
        more = await self._fetcher.get_with_token(endpoint, access)
        # Section 5.3.2: otherwise the token of another person could be substituted.
        if more.get("sub") != claims.get("sub"):
            raise OidcFailed("Your identity provider described another person. Start again.")
        return {**more, **claims}

    async def _endpoint(self, name: str) -> str:
        url = (await self._issuer.metadata()).get(name)
        is_local = self.settings.issuer.startswith("http://")
        if not isinstance(url, str) or not is_safe_url(url, http=is_local):
            raise IssuerUnavailable(f"{self.settings.issuer}: its metadata has no https:// {name}")
        return url


def _code(response: Mapping[str, str]) -> str:
    if "error" in response:
        if response["error"] == "access_denied":
            raise OidcFailed("Your identity provider says that you cancelled or have no access.")
        raise OidcFailed("Your identity provider could not sign you in. Start again.")
    code = response.get("code", "")
    if not 0 < len(code) <= _MAX_CODE:
        raise OidcFailed("Your identity provider sent no code. Start again.")
    return code


def _with_query(url: str, values: Mapping[str, str]) -> str:
    joint = "&" if urlsplit(url).query else "?"
    return f"{url}{joint}{urlencode(values, quote_via=quote)}"
