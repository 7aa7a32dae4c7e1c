"""Read a person's claims, and decide who may sign in with which role. These functions are pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authz.config.oidc import OidcClaims, OidcIssuer
from authz.errors import AuthzError
from authz.identity import roles
from authz.identity.names import check_email, check_full_name, check_user_name
from authz.identity.store_links import check_subject

_INVALID = re.compile(r"[^a-zA-Z0-9]+")
_NAME_LENGTH = 32
_MAX_TEXT = 1024
_FALLBACK = "user"


class ProfileRefused(AuthzError):  # noqa: N818 - the name is the reason
    """The person may not sign in. The message says why, and may be shown to them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The claims about a person that authz uses.

    Attributes:
        subject: the issuer's identifier of the person.
        username: a valid user name, made from the claims.
        email: empty if there is no address, or the issuer says that it is not verified.
        email_verified: the issuer says that the address is the person's.
        name: the name for people; may be empty.
        groups: names of groups, as the issuer writes them.
    """

    subject: str
    username: str
    email: str
    email_verified: bool
    name: str
    groups: frozenset[str]


def read_profile(claims: Mapping[str, Any], names: OidcClaims) -> Profile:
    """Return the profile in verified claims.

    Args:
        claims: of the ID token, with those of the UserInfo endpoint.
        names: the names of the claims.

    Raises:
        ProfileRefused: the claims have no usable subject, or the list of groups is not complete.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or check_subject(subject) is not None:
        raise ProfileRefused("Your identity provider sent no usable subject (sub).")
    verified = claims.get("email_verified")
    email = _text(claims, names.email)
    if check_email(email) is not None or verified in (False, "false"):
        email = ""
    full_name = " ".join(_text(claims, names.name).split())
    if check_full_name(full_name) is not None:
        full_name = ""
    return Profile(
        subject=subject,
        username=user_name(_text(claims, names.username), email, subject),
        email=email,
        # Some providers send the text "true". It is about the claim email and no other.
        email_verified=(verified is True or verified == "true")
        and bool(email)
        and email == _text(claims, "email"),
        name=full_name,
        groups=_groups(claims, names.groups),
    )


def user_name(*candidates: str) -> str:
    """Return a valid user name that is made from the first candidate that gives one."""
    for text in candidates:
        name = _INVALID.sub("-", text.partition("@")[0]).strip("-")[:_NAME_LENGTH].strip("-")
        if name and check_user_name(name) is None:
            return name
    return _FALLBACK


def check_allowed(profile: Profile, settings: OidcIssuer) -> None:
    """Refuse a person whom the settings do not allow.

    Raises:
        ProfileRefused: neither a group nor the verified e-mail address of the person is allowed.
    """
    if not settings.allowed_groups and not settings.allowed_email_domains:
        return
    if profile.groups & set(settings.allowed_groups):
        return
    domain = profile.email.rpartition("@")[2].lower()
    if profile.email_verified and domain in settings.allowed_email_domains:
        return
    if settings.allowed_email_domains and not profile.email_verified:
        raise ProfileRefused(
            "Your identity provider does not confirm your e-mail address, so you can't sign in by "
            "it. Ask an administrator to add you to an allowed group."
        )
    raise ProfileRefused(
        "You have no access to this gateway: neither your groups nor your e-mail address are "
        "allowed. Ask an administrator."
    )


def role_of(profile: Profile, settings: OidcIssuer) -> str | None:
    """Return the role of a person by their groups, or None if the issuer chooses no roles."""
    mapped = settings.roles
    if mapped is None:
        return None
    if profile.groups & set(mapped.owner):
        return roles.OWNER
    return roles.USER_ADMIN if profile.groups & set(mapped.user_admin) else roles.MEMBER


def find(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim, or None. A name with dots also means a claim within a claim."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = find(claims, name)
    return value.strip()[:_MAX_TEXT] if isinstance(value, str) else ""


def _groups(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    value = find(claims, name)
    distributed = claims.get("_claim_names")
    if value is None and isinstance(distributed, Mapping) and name in distributed:
        # A group may be the one that limits the person, so an incomplete list is no list.
        raise ProfileRefused(
            "You are in too many groups for your identity provider to name them. Ask an "
            "administrator to send only the groups that are assigned to this application."
        )
    if value is None:
        return frozenset()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ProfileRefused("Your identity provider sent groups that are not a list of names.")
    return frozenset(values)
