"""Settings of the rules for models."""

import re
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictBool, StrictStr, model_validator

from authz.config.fields import ProviderName, Section, matching
from authz.core.tokens import ID_LENGTH

GLOB = re.compile(r"[A-Za-z0-9*?._:/@+~-]{1,128}")
_TOKEN = re.compile(f"[A-Za-z0-9]{{{ID_LENGTH}}}")
MAX_RULES = 1000


def _glob(text: str) -> str:
    if GLOB.fullmatch(text) is None:
        raise ValueError(
            "must be a model name, in which * stands for any text and ? for one character, such as "
            "claude-haiku-*"
        )
    return text


def _token(text: str) -> str:
    if _TOKEN.fullmatch(text) is None:
        raise ValueError(
            "must be the id of a token, the 10 characters that authz tokens list shows"
        )
    return text


Glob = Annotated[StrictStr, AfterValidator(_glob), matching(GLOB, "claude-haiku-*")]
TokenId = Annotated[StrictStr, AfterValidator(_token), matching(_TOKEN)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class ModelRule(Section):
    """A rule about models. Without ``users``, ``groups`` and ``tokens`` it is for everyone.

    Attributes:
        users: names of users whom the rule is for.
        groups: names of groups whose members the rule is for.
        tokens: ids of tokens that the rule is for.
        providers: names of the providers that the rule is for. Empty means all.
        allow: names of models, in which ``*`` stands for any text and ``?`` for one character. The
            rule allows no others. Empty means all.
        deny: names of models that the rule refuses, written as in ``allow``.
    """

    users: tuple[Name, ...] = ()
    groups: tuple[Name, ...] = ()
    tokens: tuple[TokenId, ...] = ()
    providers: tuple[ProviderName, ...] = ()
    allow: tuple[Glob, ...] = ()
    deny: tuple[Glob, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.allow and not self.deny:
            raise ValueError("allow or deny is required")
        if self.tokens and (self.users or self.groups):
            raise ValueError(
                "tokens: must be in a rule of their own, because they narrow what their owner may "
                "use"
            )
        return self

    def concerns(self, provider: str) -> bool:
        """Return whether the rule is for a provider."""
        return not self.providers or provider in self.providers


class Models(Section):
    """Rules that say which models may be used (docs/model-rules.md).

    Attributes:
        rules: the rules. A provider that none of them is for works as without them.
        assigned: whether rules that ``authz models`` and the page set count too. Envoy then reads
            the model at every provider.
    """

    rules: Annotated[tuple[ModelRule, ...], Field(max_length=MAX_RULES)] = ()
    assigned: StrictBool = False

    @model_validator(mode="after")
    def _has_rules(self) -> Self:
        if not self.rules and not self.assigned:
            raise ValueError("rules or assigned: true is required")
        return self

    def concern(self, provider: str) -> bool:
        """Return whether any rule is for a provider."""
        return self.assigned or any(rule.concerns(provider) for rule in self.rules)

    def problems(
        self, providers: set[str] | None, *, managed_by_coder: bool, has_external_gateways: bool
    ) -> Iterator[str]:
        """Yield a message for each rule that can't work.

        Args:
            providers: the names of all providers; None while they are not known.
            managed_by_coder: Coder's API is the source of identities.
            has_external_gateways: other gateways than the project's own may ask.
        """
        if has_external_gateways:
            yield (
                "models: does not work with external_gateways, because only the project's own "
                "Envoy reads the model of a request"
            )
        if self.assigned and managed_by_coder:
            yield (
                "models.assigned: needs a store of authz's own (identity: sqlite://… or "
                "postgresql://…)"
            )
        for index, rule in enumerate(self.rules):
            where = f"models.rules[{index}]"
            if rule.groups and managed_by_coder:
                yield (
                    f"{where}.groups: needs a store of authz's own (identity: sqlite://… or "
                    "postgresql://…): Coder does not tell the groups of a user"
                )
            if providers is not None and not providers.issuperset(rule.providers):
                yield (
                    f"{where}.providers: there is no provider of one of these names: this gateway "
                    f"has {', '.join(sorted(providers))}"
                )
