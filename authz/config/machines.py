"""Settings of short-lived tokens for machines: issuers of JWTs, and rules."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, StrictBool, StrictStr, model_validator

from authz.addresses import parse_base_url
from authz.config.fields import FilePath, Section, WholeSeconds
from authz.config.shared_issuers import too_wide
from authz.core.rules import TokenRules, make_rules

MAX_LIFETIME_SECONDS = 3600
ClaimPatterns = dict[str, Any]


class MachineIssuer(Section):
    """An issuer of JWTs that a workload can get.

    Attributes:
        issuer: URL of the issuer, exactly as in the JWT's ``iss`` claim.
        audience: a value that the JWT's ``aud`` claim must have. The workload asks for it.
        jwks_file: file with the issuer's keys (JWKS), for an issuer that authz can't reach. authz
            reads it again when it changes.
        ca_file: PEM file with a private CA of the issuer. Unset means the system's trusted roots.
        single_use: exchange each JWT once. It must have a ``jti`` claim and end within a day.
    """

    issuer: StrictStr
    audience: Annotated[StrictStr, Field(min_length=1, max_length=512)]
    jwks_file: FilePath | None = None
    ca_file: FilePath | None = None
    single_use: StrictBool = False

    @model_validator(mode="after")
    def _safe(self) -> Self:
        url = parse_base_url(self.issuer)
        if url.is_in_clear:
            raise ValueError("issuer: must begin with https://")
        return self


class MachineRule(Section):
    """A rule: the JWTs that it matches, and the token that they are exchanged for.

    Attributes:
        name: the rule's name, which begins the names of its tokens.
        issuer: URL of the issuer, one of ``issuers``.
        service_account: user name of the service account that owns the tokens.
        claims: patterns of the JWT's claims; all must match. ``*`` stands for any text and ``?``
            for one character. A claim within a claim is written as it is nested.
        lifetime: lifetime of a token, at most an hour.
        providers: names of providers that the tokens are limited to. Empty means all.
        modes: ``centralized``, ``byok`` or both. Empty means both.
    """

    name: Annotated[StrictStr, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=32)]
    issuer: StrictStr
    service_account: StrictStr
    claims: ClaimPatterns
    lifetime: Annotated[WholeSeconds, Field(ge=60, le=MAX_LIFETIME_SECONDS)] = MAX_LIFETIME_SECONDS
    providers: tuple[StrictStr, ...] = ()
    modes: tuple[StrictStr, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        patterns = {".".join(path): pattern for path, pattern in flat_patterns(self.claims)}
        if problem := too_wide(self.issuer, patterns):
            raise ValueError(f"claims: {problem}")
        self.rules  # noqa: B018 - raises for a mode or a name that can't be
        return self

    @property
    def rules(self) -> TokenRules:
        """The limits of the rule's tokens."""
        return make_rules(self.providers, self.modes)


class Machines(Section):
    """Short-lived tokens for machines.

    Attributes:
        issuers: the issuers whose JWTs are accepted.
        rules: the rules, of which the first that matches a JWT applies.
    """

    issuers: Annotated[tuple[MachineIssuer, ...], Field(min_length=1)]
    rules: Annotated[tuple[MachineRule, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = [one.issuer for one in self.issuers]
        if len(set(known)) != len(known):
            raise ValueError("issuers: an issuer appears twice")
        for index, rule in enumerate(self.rules):
            if rule.issuer not in known:
                raise ValueError(f"rules[{index}].issuer: is not one of issuers")
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("rules: a name appears twice")
        return self


def flat_patterns(
    claims: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path of each claim and its pattern.

    Raises:
        ValueError: a pattern is not text.
    """
    for name, pattern in claims.items():
        path = (*above, name)
        if isinstance(pattern, Mapping):
            yield from flat_patterns(pattern, path)
        elif isinstance(pattern, str) and pattern:
            yield path, pattern
        else:
            raise ValueError(f"claims: {'.'.join(path)}: must be text, in quotes if it is a number")
