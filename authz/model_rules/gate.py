"""Refuses requests for models that the rules do not let their user have."""

from collections.abc import Mapping

from cachetools import LRUCache

from authz.assigned.current import AssignedRules, CurrentRules
from authz.config.model_rules import ModelRule, Models
from authz.core.admission import Admission
from authz.core.decision_types import Deny, refuse
from authz.core.declared import NO_MODEL, DeclaredRequest
from authz.core.identity import Identity
from authz.core.refusals import Reason
from authz.core.tokens import without_tokens
from authz.model_rules.verdict import matching, objection
from authz.printable import printable

_SHOWN = 100
UNAVAILABLE_SECONDS = 2
"""Clients wait this long after a 503."""
_UNREAD = DeclaredRequest(problem="This gateway has to know the model of each request.")


class ModelGate:
    """The rules of one configuration.

    Args:
        models: the rules.
        providers: the names of all providers.
        assigned: the rules that administrators set; None where there are none.
    """

    def __init__(
        self, models: Models, providers: list[str], assigned: AssignedRules | None = None
    ) -> None:
        self._uses_assigned = models.assigned
        self._assigned = assigned
        self._current: CurrentRules | None = None
        self._seen: tuple[ModelRule, ...] = ()
        self._rules: Mapping[str, tuple[ModelRule, ...]] = {
            name: tuple(rule for rule in models.rules if rule.concerns(name)) for name in providers
        }
        self._objections = LRUCache[tuple[str, str, tuple[str, ...], str, str], str | None](4096)

    def admit(self, request: Admission) -> Deny | None:
        """Return the refusal of a request; None lets it pass."""
        declared = request.declared or _UNREAD
        identity = request.identity
        if declared is NO_MODEL:
            return None
        if self._uses_assigned and not self._take_assigned():
            return refuse(
                Reason.RULES_UNAVAILABLE,
                identity=identity,
                token_id=identity.token_id,
                retry_after=UNAVAILABLE_SECONDS,
            )
        if not self._rules.get(request.provider) and not self._seen:
            return None
        why = self._objection(request.provider, identity, declared.model)
        if why is None or (declared.model and not why):
            return None
        if declared.problem or not declared.model:
            problem = declared.problem or _UNREAD.problem
            return refuse(Reason.MODEL_UNKNOWN, {"problem": problem}, identity, identity.token_id)
        # The model is what the client sent.
        model = printable(without_tokens(declared.model), _SHOWN)
        return refuse(
            Reason.MODEL_REFUSED, {"model": model, "why": why}, identity, identity.token_id
        )

    def _objection(self, provider: str, identity: Identity, model: str) -> str | None:
        """Return why a model may not be used, empty if it may be; None if no rule is for it."""
        key = provider, identity.username, identity.groups, identity.token_id, model
        try:
            return self._objections[key]
        except KeyError:
            rules = (*self._rules.get(provider, ()), *self._seen)
            found = matching(rules, identity)
            why = objection(found, model, is_known=bool(identity.username)) if found else None
            self._objections[key] = why
            return why

    def _take_assigned(self) -> bool:
        """Use the assigned rules of now; return False if they are not known."""
        current = None if self._assigned is None else self._assigned.value
        if current is None:
            return False
        if current is not self._current:
            self._current = current
            if current.models != self._seen:
                self._seen = current.models
                self._objections.clear()
        return True

    def give_back(self, request: Admission) -> None:
        """Do nothing: the rules take nothing."""
