"""Chooses the limits of a request from the configuration."""

from collections.abc import Iterable, Mapping

from authz.assigned.rule import RuleKind
from authz.config.shared_limits import LimitValues, SharedLimits
from authz.core.admission import Admission
from authz.core.rules import Mode
from authz.identity.owners import Owner as Owned
from authz.identity.owners import OwnerKind
from authz.limits.limit import Limit, LimitKind, Owner, key_of

_Values = tuple[tuple[LimitKind, int], ...]
Assigned = Mapping[Owned, Mapping[RuleKind, int]]
"""Limits by the owner, as an identity names it."""
NONE_ASSIGNED: Assigned = {}
_KINDS = {
    RuleKind.REQUESTS: LimitKind.REQUESTS,
    RuleKind.TOKENS: LimitKind.TOKENS,
    RuleKind.CONCURRENT: LimitKind.CONCURRENT,
}


class Applying:
    """The limits of the configuration, by owner.

    Args:
        shared: the configuration.
    """

    def __init__(self, shared: SharedLimits) -> None:
        users = {name: one.completed(shared.each_user) for name, one in shared.users.items()}
        self._each_user = _values(shared.each_user)
        self._users = {name: _values(one) for name, one in users.items()}
        # Such a token may be that of any user who is named: it has the least of their limits.
        self._nameless = _least([shared.each_user, *users.values()])
        self._each_token = _values(shared.each_token)
        self._groups = {name: _values(one) for name, one in shared.groups.items()}
        self._providers = {name: _values(one) for name, one in shared.providers.items()}

    def limits_of(
        self, request: Admission, assigned: Assigned = NONE_ASSIGNED
    ) -> tuple[Limit, ...]:
        """Return the limits that count a request.

        Args:
            request: the request.
            assigned: limits by owner, which replace those of the configuration one by one.
        """
        identity, found = request.identity, list[Limit]()
        name = identity.username
        values = self._users.get(name, self._each_user) if name else self._nameless
        if assigned and (more := assigned.get(Owned(OwnerKind.USER, identity.user_id))):
            values = _replaced(values, more)
        if values:
            # A token whose user is unknown is its own user.
            user_id = identity.user_id or f"token:{identity.token_id}"
            found += _limits(values, Owner.USER, user_id, identity.name)
        values = self._each_token
        if assigned and (more := assigned.get(Owned(OwnerKind.TOKEN, identity.token_id))):
            values = _replaced(values, more)
        if values:
            found += _limits(values, Owner.TOKEN, identity.token_id, identity.token_name)
        if self._groups or assigned:
            for group in identity.groups:
                values = self._groups.get(group, ())
                if assigned and (more := assigned.get(Owned(OwnerKind.GROUP, group))):
                    values = _replaced(values, more)
                if values:
                    found += _limits(values, Owner.GROUP, group, group)
        # The limit of a provider protects the central key. A user's own key has its own limits.
        if request.mode is Mode.CENTRALIZED and (
            values := self._providers.get(request.provider, ())
        ):
            found += _limits(values, Owner.PROVIDER, request.provider, request.provider)
        return tuple(found)


def _values(limits: LimitValues) -> _Values:
    pairs = (
        (LimitKind.REQUESTS, limits.requests_per_minute),
        (LimitKind.TOKENS, limits.tokens_per_minute),
        (LimitKind.CONCURRENT, limits.concurrent_requests),
    )
    return tuple((kind, most) for kind, most in pairs if most is not None)


def _replaced(values: _Values, by: Mapping[RuleKind, int]) -> _Values:
    return tuple({**dict(values), **{_KINDS[kind]: most for kind, most in by.items()}}.items())


def _least(several: Iterable[LimitValues]) -> _Values:
    least: dict[LimitKind, int] = {}
    for values in several:
        for kind, most in _values(values):
            least[kind] = min(most, least.get(kind, most))
    return tuple(least.items())


def _limits(values: _Values, owner: Owner, owner_id: str, name: str) -> list[Limit]:
    return [Limit(key_of(kind, owner, owner_id), kind, most, owner, name) for kind, most in values]
