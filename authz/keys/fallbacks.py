"""The keys of a provider and of its fallback providers, for one request."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from authz.core.decision_types import ChosenKey, Exhausted, FurtherKey
from authz.keys.pool import KeyPool


class PoolWithFallbacks:
    """The pool of a provider, followed by those of its fallback providers.

    Args:
        pool: of the provider.
        fallbacks: the destinations of the fallback providers with their pools, in order.
    """

    def __init__(self, pool: KeyPool, fallbacks: Sequence[tuple[str, KeyPool]]) -> None:
        self._pool = pool
        self._fallbacks = tuple(fallbacks)
        self._last: tuple[tuple[ChosenKey | Exhausted | None, ...], ChosenKey] | None = None

    def choose(self) -> ChosenKey | Exhausted | None:
        """Return the keys for a request, as ``KeyPool.choose``.

        A key of a fallback provider follows those of the provider, so a request begins with one
        only while all keys of the provider are on cooldown.
        """
        first = self._pool.choose()
        if first is None:
            return None
        others = [pool.choose() for _, pool in self._fallbacks]
        if isinstance(first, Exhausted):
            return replace(first, further=tuple(self._following(others)))
        # The same object for the same keys, so that callers can compare by identity.
        found = (first, *others)
        if self._last is None or any(
            one is not other for one, other in zip(found, self._last[0], strict=True)
        ):
            further = (*first.further, *self._following(others))
            self._last = (found, replace(first, further=further))
        return self._last[1]

    def _following(self, others: Sequence[ChosenKey | Exhausted | None]) -> Iterator[FurtherKey]:
        for (name, _), chosen in zip(self._fallbacks, others, strict=True):
            if isinstance(chosen, ChosenKey):
                yield FurtherKey(chosen.key, chosen.index, name)
                for one in chosen.further:
                    yield replace(one, provider=name)
