"""Verify the JWTs of an issuer: OpenID Connect Discovery, JWKS (RFC 7517) and RFC 8725's advice."""

import asyncio
import json
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.util import urlsafe_b64decode

from authz.addresses import TcpAddress
from authz.errors import AuthzError
from authz.fetcher import MAX_BYTES, Fetcher, IssuerUnavailable, StrictDecoder
from authz.oauth.keys import Key, choose, read_keys
from authz.secret import Secret

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
    "EdDSA", "Ed25519",
)  # fmt: skip
"""The accepted signatures. All are asymmetric: a public key can't sign (RFC 8725 section 2.1)."""
CLOCK_SKEW_SECONDS = 60
"""The difference between the issuer's clock and this one that does no harm."""
MAX_JWT = 16 * 1024
"""The maximum length of a JWT. One with 200 groups has some 8 KiB."""
TYPES = ("jwt", "at+jwt")
"""The accepted ``typ`` headers, beside none: other JWTs of an issuer, such as logout tokens, are no
proof of an identity (RFC 8725 section 3.11)."""

_FRESH_SECONDS = 3600.0
"""The age at which keys are fetched again, so that a withdrawn key ends."""
_STALE_SECONDS = 24 * 3600.0
"""The age up to which keys are used while the issuer does not answer."""
_RETRY_SECONDS = 30.0
"""The time between two fetches of the keys, for an unknown key or after a failure."""
_METADATA_RETRY_SECONDS = 5.0
_UNANSWERED = "the issuer has not answered"
_METADATA = "/.well-known/openid-configuration"

Claims = Mapping[str, Any]
_log = structlog.get_logger(__name__)


class InvalidJwt(AuthzError):  # noqa: N818 - the name is the reason
    """The JWT proves nothing. The message names the claim or the rule and quotes no value."""


class Issuer:
    """One issuer of JWTs, with its metadata and keys.

    Keys are fetched at the first use, again after an hour, and again for a JWT with an unknown
    key, at most once in 30 s. If the issuer does not answer, the last keys are used for a day.

    Args:
        url: the issuer's identifier, exactly as in the ``iss`` claim.
        ca_file: PEM file with a private CA of the issuer.
        jwks_file: JWKS document, for an issuer that this machine can't reach. It is read again
            when it changes.
        clock: returns the time in Unix seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        jwks_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self._fetcher = Fetcher(ca_file)
        self._jwks_file = jwks_file
        self._clock = clock
        self._lock = asyncio.Lock()
        self._metadata: dict[str, Any] | None = None
        self._keys: list[Key] = []
        self._fetched_at = self._tried_at = self._metadata_tried_at = float("-inf")
        # Empty unless the last attempt to fetch the keys failed.
        self._why = ""
        self._file_state: tuple[int, int, int] | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self._fetcher.close()

    async def metadata(self) -> Mapping[str, Any]:
        """Return the issuer's metadata (OpenID Connect Discovery 1.0 section 3).

        Raises:
            IssuerUnavailable: the issuer does not answer, or names another issuer. It is asked
                again 5 s later.
        """
        if self._metadata is None:
            async with self._lock:
                if self._metadata is None:
                    if self._clock() - self._metadata_tried_at < _METADATA_RETRY_SECONDS:
                        raise IssuerUnavailable(f"{self.url} did not answer a moment ago")
                    self._metadata_tried_at = self._clock()
                    return await self._fetch_metadata()
        return self._metadata

    async def _fetch_metadata(self) -> Mapping[str, Any]:
        found = await self._fetcher.get(self.url.rstrip("/") + _METADATA)
        # Section 4.3: otherwise one issuer could speak for another.
        if found.get("issuer") != self.url:
            raise IssuerUnavailable(f"{self.url}: its metadata names another issuer")
        self._metadata = found
        return found

    async def verify(
        self, text: Secret, audience: str, *, types: Collection[str] = TYPES
    ) -> Claims:
        """Return the claims of a JWT of this issuer.

        Args:
            text: the JWT in its compact form.
            audience: a value that the ``aud`` claim must have.
            types: the accepted values of the ``typ`` header, in lower case; none is accepted too.

        Raises:
            InvalidJwt: the JWT is not valid now, here or at all.
            IssuerUnavailable: the key of the JWT can't be fetched.
        """
        header = _header(text)
        if not _is_typed(header, types):
            raise InvalidJwt("its typ is not accepted")
        key = await self._find(header)
        try:
            claims = _decode(text, key, header["alg"])
            self._check(claims, audience)
        except (JoseError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise InvalidJwt(_reason(error)) from None
        return claims

    def _check(self, claims: dict[str, Any], audience: str) -> None:
        jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=CLOCK_SKEW_SECONDS,
            iss={"essential": True, "value": self.url},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        ).validate(claims)

    async def _find(self, header: Mapping[str, Any]) -> Key:
        """Return the key that a JWT's header names. Keys within the header itself are ignored."""
        key = choose(self._keys, header)
        # While another call fetches, a key that was known is good enough: the issuer may be slow.
        if key is None or (not self._is_fresh and not self._lock.locked()):
            async with self._lock:
                key = choose(self._keys, header)
                if key is None or not self._is_fresh:
                    await self._refresh()
                    key = choose(self._keys, header)
        if self._jwks_file is None and self._clock() - self._fetched_at > _STALE_SECONDS:
            why = self._why or "it has not answered for a day"
            raise IssuerUnavailable(f"the keys of {self.url} can't be fetched: {why}")
        if key is None and self._why:
            raise IssuerUnavailable(f"the JWT's key is new, and {self._why}")
        if key is None:
            raise InvalidJwt("the issuer has no such signing key")
        return key

    @property
    def _is_fresh(self) -> bool:
        return self._jwks_file is None and self._clock() - self._fetched_at <= _FRESH_SECONDS

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was tried a moment ago."""
        if self._jwks_file is not None:
            self._read_file(self._jwks_file)
            return
        now = self._clock()
        if now - self._tried_at < _RETRY_SECONDS:
            return
        self._tried_at, self._why = now, _UNANSWERED
        try:
            url = (await self._fetch_metadata()).get("jwks_uri")
            # An issuer on another machine must not send authz to a server of this machine.
            is_local = self.url.startswith("http://")
            if not isinstance(url, str) or not is_safe_url(url, http=is_local):
                raise IssuerUnavailable(f"{self.url}: its metadata has no https:// jwks_uri")
            self._keys = read_keys(await self._fetcher.get(url))
            self._fetched_at, self._why = now, ""
        except IssuerUnavailable as error:
            self._why = str(error)
            _log.warning("an issuer's keys could not be fetched", issuer=self.url, why=str(error))

    def _read_file(self, path: Path) -> None:
        try:
            found = path.stat()
            state = (found.st_ino, found.st_mtime_ns, found.st_size)
            if state != self._file_state:
                if found.st_size > MAX_BYTES:
                    raise IssuerUnavailable(f"{path} is longer than {MAX_BYTES // 1024} KiB")
                self._keys = read_keys(json.loads(path.read_bytes(), cls=StrictDecoder))
                self._file_state = state
        except OSError as error:
            raise IssuerUnavailable(f"can't read {path}: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise IssuerUnavailable(f"{path} is not valid JSON") from None


def _decode(text: Secret, key: Key, algorithm: str) -> dict[str, Any]:
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    with warnings.catch_warnings():
        # joserfc warns of the name EdDSA, which RFC 9864 replaces by Ed25519; the signature is
        # the same, and issuers use it.
        warnings.simplefilter("ignore", SecurityWarning)
        token = jwt.decode(text.reveal(), key, registry=registry, decoder_cls=StrictDecoder)
    return token.claims


def is_safe_url(url: str, *, http: bool = True) -> bool:
    """Return whether a URL is https:// or, if ``http`` is true, http:// on this machine."""
    try:
        parts = urlsplit(url)
        is_local = TcpAddress(parts.hostname or "", parts.port or 80).is_loopback
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (http and parts.scheme == "http" and is_local)


def issuer_of(text: Secret) -> str:
    """Return the ``iss`` claim of a JWT without verifying it, to choose the issuer that does.

    Raises:
        InvalidJwt: the text is not a JWT with an issuer.
    """
    _header(text)
    try:
        claims = json.loads(_extract(text).payload, cls=StrictDecoder)
    except (ValueError, RecursionError):
        raise InvalidJwt("its payload is not valid JSON") from None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    if not isinstance(issuer, str):
        raise InvalidJwt("it has no iss claim")
    return issuer


def _header(text: Secret) -> Mapping[str, Any]:
    segment = _extract(text).segments["header"]
    try:
        header = json.loads(urlsafe_b64decode(segment), cls=StrictDecoder)
    except (ValueError, RecursionError):
        raise InvalidJwt("its header is not valid JSON") from None
    if not isinstance(header, dict):
        raise InvalidJwt("its header is not a JSON object")
    kid = header.get("kid")
    if header.get("alg") not in ALGORITHMS:
        raise InvalidJwt("its signature algorithm is not accepted")
    if "crit" in header:
        raise InvalidJwt("its header has extensions that this gateway does not know")
    if kid is not None and not isinstance(kid, str):
        raise InvalidJwt("its kid is not text")
    return header


def _is_typed(header: Mapping[str, Any], types: Collection[str]) -> bool:
    kind = header.get("typ")
    # RFC 7515 section 4.1.9 lets a media type leave out its first part.
    return kind is None or (
        isinstance(kind, str) and kind.lower().removeprefix("application/") in types
    )


def _extract(text: Secret) -> jws.CompactSignature:
    if len(text.reveal()) > MAX_JWT:
        raise InvalidJwt(f"it is longer than {MAX_JWT // 1024} KiB")
    try:
        return jws.extract_compact(text.reveal().encode("ascii"))
    except (JoseError, ValueError, TypeError, RecursionError):
        raise InvalidJwt("it is not a JWT") from None


def _reason(error: Exception) -> str:
    claim = getattr(error, "claim", None)
    if isinstance(claim, str):
        return f"its {claim} claim is not accepted"
    name = getattr(error, "error", None)
    return name.replace("_", " ") if isinstance(name, str) else "it can't be read"
