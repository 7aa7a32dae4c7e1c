"""Read the credential of a request, and decide whether the stand-in accepts it."""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from authz.secret import mask

Headers = Sequence[tuple[str, str]]
Kind = Literal["centralized", "byok"]

TYPES = ("anthropic", "openai", "chatgpt", "copilot", "azure", "gemini", "bedrock")

# A user's own key is accepted by its format, because the stand-in can't know the key.
_SHAPES = {
    "anthropic": re.compile(r"sk-ant-"),
    "openai": re.compile(r"sk-"),
    "chatgpt": re.compile(r"eyJ|sk-"),
    "copilot": re.compile(r"gho_|ghu_|ghp_|github_pat_|tid="),
    "azure": re.compile(r"[0-9A-Za-z]{16}|eyJ|sk-"),
    "gemini": re.compile(r"AIza|ya29\.|sk-"),
    "bedrock": re.compile(r"bedrock-api-key-|ABSK|sk-"),
}
_KEY_HEADERS = {
    "anthropic": "x-api-key",
    "bedrock": "x-api-key",
    "azure": "api-key",
    "gemini": "x-goog-api-key",
}
_CODER_TOKEN = re.compile(r"[0-9A-Za-z]{10}-[0-9A-Za-z]{22}")
# No comma or space, so that two credentials in one header are not accepted as one.
_ONE_TOKEN = re.compile(r"[!-+\--~]+")
_BEARER = re.compile(r"bearer +(\S.*)", re.IGNORECASE | re.DOTALL)
# The access key's id identifies the signer. Tests verify signatures with AWS's own library.
_SIGNATURE = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/.*Signature=[0-9a-f]{64}")


def _default_types() -> dict[str, str]:
    return {name: name for name in TYPES}


@dataclass(frozen=True)
class Presented:
    """The credential in a request, right or wrong.

    Attributes:
        header: the header with the credential, or None.
        value: the credential without its scheme, or None.
        ambiguous: the request has several credentials, so it is refused.
    """

    header: str | None = None
    value: str | None = field(default=None, repr=False)
    ambiguous: bool = False


@dataclass(frozen=True)
class Credential:
    """A credential that the stand-in accepts."""

    kind: Kind
    header: str
    value: str = field(repr=False)

    @property
    def hint(self) -> str:
        """The credential, masked."""
        return mask(self.value)

    def __str__(self) -> str:
        """Describe the credential, as in `byok, sk-a...9f3c in x-api-key`."""
        return f"{self.kind}, {self.hint} in {self.header}"


@dataclass(frozen=True)
class Accounts:
    """Decides which credentials are accepted.

    Attributes:
        central: the central key of each provider.
        further: the central keys of a provider beside the first one.
        types: the type of each provider, one of `TYPES`. A provider is mounted at its name.
    """

    central: Mapping[str, str] = field(default_factory=dict, repr=False)
    further: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    types: Mapping[str, str] = field(default_factory=_default_types)

    def __post_init__(self) -> None:
        """Check that the stand-in can imitate every type."""
        for name, kind in self.types.items():
            if kind not in TYPES:
                raise ValueError(f"{name}: type {kind!r} is not one of {', '.join(TYPES)}")

    def accept(self, provider: str, presented: Presented) -> Credential | None:
        """Return the credential if the provider accepts it, else None."""
        header, value = presented.header, presented.value
        if header is None or value is None or presented.ambiguous:
            return None
        kind = self._kind(provider, value)
        return None if kind is None else Credential(kind, header, value)

    def is_own_key(self, provider: str, value: str) -> bool:
        """Return whether a value has the format of the provider's keys."""
        is_shaped = _SHAPES[self.types[provider]].match(value) is not None
        return is_shaped and len(value) >= 8 and "wrong" not in value

    def _central_keys(self, provider: str) -> tuple[str, ...]:
        return (self.central.get(provider, ""), *self.further.get(provider, ()))

    def _kind(self, provider: str, value: str) -> Kind | None:
        # A Coder token must never reach a provider, even if it is listed as a key.
        if _CODER_TOKEN.fullmatch(value) or not _ONE_TOKEN.fullmatch(value):
            return None
        if any(_equal(value, key) for key in self._central_keys(provider)):
            return "centralized"
        # A central key that leaks to another provider must not pass there as a user's own key.
        providers = {*self.central, *self.further}
        if any(_equal(value, key) for name in providers for key in self._central_keys(name)):
            return None
        return "byok" if self.is_own_key(provider, value) else None


def present(provider_type: str, headers: Headers) -> Presented:
    """Return the credential of a request, read as a provider of this type does.

    Args:
        provider_type: one of `TYPES`.
        headers: lower-case names and values, in the order of the request.
    """
    bearers = [value for name, value in headers if name == "authorization"]
    key_header = _KEY_HEADERS.get(provider_type, "")
    keys = [value for name, value in headers if name == key_header]
    ambiguous = len(bearers) + len(keys) > 1
    if keys:
        return Presented(key_header, keys[0], ambiguous)
    signature = _SIGNATURE.fullmatch(bearers[0]) if bearers else None
    if provider_type == "bedrock" and signature:
        return Presented("authorization", signature.group(1), ambiguous)
    if bearers and (match := _BEARER.fullmatch(bearers[0])):
        return Presented("authorization", match.group(1), ambiguous)
    return Presented(ambiguous=ambiguous)


def _equal(left: str, right: str) -> bool:
    return bool(right) and hmac.compare_digest(left.encode(), right.encode())
