"""The credential that a provider gets, and those for further tries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from authz.core.decision_types import FurtherCredential, FurtherKey
from authz.core.providers import ProviderType
from authz.core.rules import Mode
from authz.secret import Secret


@dataclass(frozen=True, slots=True)
class Choice:
    """The credential for the provider: the mode, the header, and the value to put there."""

    mode: Mode
    header: str | None
    credential: Secret | None
    hint: str
    key_index: int | None = None
    appended: tuple[tuple[str, str], ...] = ()
    further: tuple[FurtherCredential, ...] = ()
    further_header: str | None = None


def with_key(
    mode: Mode, provider_type: ProviderType, key: Secret, index: int | None = None
) -> Choice:
    """Put a key that the request did not bring into the header in which the provider takes it."""
    header, value = provider_type.credential(key.reveal())
    appended = provider_type.bearer_headers if provider_type.is_bearer(key.reveal()) else ()
    return Choice(mode, header, Secret(value), key.hint, index, appended)


def with_further(first: Choice, provider_type: ProviderType, keys: Sequence[FurtherKey]) -> Choice:
    """Return a choice with the keys that can take its place, when all else stays as it is.

    Args:
        first: a choice of a central key.
        keys: of the same type of provider.
    """
    header, further = first.header, []
    for key in keys:
        one = with_key(first.mode, provider_type, key.key, key.index)
        if one.credential is not None and (one.header, one.appended) == (header, first.appended):
            further.append(FurtherCredential(one.credential, one.hint, one.key_index, key.provider))
    return replace(first, further=tuple(further), further_header=header) if further else first


def fallback_only(provider_type: ProviderType, keys: Sequence[FurtherKey]) -> Choice | None:
    """Return the choice for a request that begins at a fallback provider; None without a key.

    It has no credential at first: the filters of the fallback provider's cluster set that, so the
    key gets to no other cluster.
    """
    if not keys:
        return None
    like = with_key(Mode.CENTRALIZED, provider_type, keys[0].key)
    found = with_further(like, provider_type, keys)
    return replace(found, header=None, credential=None, hint="", key_index=None)
