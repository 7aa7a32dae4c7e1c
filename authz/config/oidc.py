"""Settings of sign-in with an OpenID provider."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictStr, model_validator

from authz.addresses import parse_base_url
from authz.config.fields import FilePath, Section
from authz.config.key_reference import StoredSecret

_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_SCOPE = re.compile(r"[!#-\[\]-~]+")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_OPEN_TO_ALL = ("https://accounts.google.com", "https://gitlab.com")
"""Issuers at which anyone can have an account."""


def _domain(text: str) -> str:
    if _DOMAIN.fullmatch(text.lower()) is None:
        raise ValueError("must be a domain such as example.com")
    return text.lower()


ClaimName = Annotated[StrictStr, Field(min_length=1, max_length=255)]
GroupName = Annotated[StrictStr, Field(min_length=1, max_length=255)]


class OidcClaims(Section):
    """The claims that describe a person.

    Attributes:
        username: the claim that new user names are made from. If it is an e-mail address, the
            part before ``@`` counts.
        name: the claim with the name for people.
        email: the claim with the e-mail address.
        groups: the claim with the list of groups. A claim within a claim is written with a dot,
            as in ``realm_access.roles``.
    """

    username: ClaimName = "preferred_username"
    name: ClaimName = "name"
    email: ClaimName = "email"
    groups: ClaimName = "groups"


class OidcRoles(Section):
    """The groups whose members get a role. The first role that applies counts.

    Attributes:
        owner: groups of owners, who may do everything.
        user_admin: groups of user administrators.
    """

    owner: tuple[GroupName, ...] = ()
    user_admin: tuple[GroupName, ...] = ()


class OidcIssuer(Section):
    """An OpenID provider that people sign in with.

    Attributes:
        name: the name in the redirect URI, ``<url>/ui/sign-in/<name>/callback``.
        title: the text on the button. Unset means the name.
        issuer: URL of the issuer, exactly as the provider's metadata states it.
        client_id: the client's id at the provider.
        client_secret: the place of the client's secret. Unset means a public client.
        scopes: the scopes to ask for.
        claims: the claims that describe a person.
        allowed_groups: groups whose members may sign in.
        allowed_email_domains: domains whose verified e-mail addresses may sign in. If neither this
            nor ``allowed_groups`` is set, every user of the issuer may.
        roles: groups whose members get a role. Unset means that all roles are given by authz.
        ca_file: PEM file with a private CA of the issuer. Unset means the system's trusted roots.
    """

    name: Annotated[StrictStr, Field(pattern=_NAME, max_length=32)]
    title: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    issuer: StrictStr
    client_id: Annotated[StrictStr, Field(min_length=1, max_length=255)]
    client_secret: StoredSecret | None = None
    scopes: tuple[StrictStr, ...] = ("openid", "profile", "email")
    claims: OidcClaims = OidcClaims()
    allowed_groups: tuple[GroupName, ...] = ()
    allowed_email_domains: tuple[Annotated[StrictStr, AfterValidator(_domain)], ...] = ()
    roles: OidcRoles | None = None
    ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        url = parse_base_url(self.issuer)
        if url.is_in_clear:
            raise ValueError("issuer: must begin with https://")
        if "openid" not in self.scopes or not all(map(_SCOPE.fullmatch, self.scopes)):
            raise ValueError("scopes: must be words without spaces, and one must be openid")
        is_open = not self.allowed_groups and not self.allowed_email_domains
        if is_open and self.issuer in _OPEN_TO_ALL:
            raise ValueError(
                f"allowed_email_domains: anyone can have an account at {self.issuer}: set it, or "
                "allowed_groups"
            )
        return self

    @property
    def button(self) -> str:
        """The text on the button."""
        return self.title or self.name
