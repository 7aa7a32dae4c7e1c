"""authz.oidc.profile: claims of any shape become a profile that the store takes, or a refusal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config.oidc import OidcClaims, OidcIssuer
from authz.identity.names import check_email, check_full_name, check_user_name
from authz.identity.store_links import check_subject
from authz.oidc.profile import (
    Profile,
    ProfileRefused,
    check_allowed,
    read_profile,
    role_of,
    user_name,
)

_NAMES = OidcClaims()
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
_CLAIMS = st.dictionaries(
    st.sampled_from(
        ["sub", "name", "preferred_username", "email", "email_verified", "groups", "_claim_names"]
    ),
    _VALUES,
)


def _settings(**changed: Any) -> OidcIssuer:
    values = {"name": "a", "issuer": "https://idp.test", "client_id": "c", **changed}
    return OidcIssuer.model_validate(values)


@given(_CLAIMS)
def test_any_claims(claims: dict[str, Any]) -> None:
    """Any claims give a profile whose texts the store accepts, or a refusal."""
    try:
        profile = read_profile(claims, _NAMES)
    except ProfileRefused:
        return
    assert check_subject(profile.subject) is None
    assert profile.subject == claims["sub"]
    assert check_user_name(profile.username) is None
    assert check_full_name(profile.name) is None
    assert not profile.email or check_email(profile.email) is None
    assert not profile.email_verified or claims["email_verified"] in (True, "true")
    assert all(isinstance(group, str) for group in profile.groups)


@given(st.text(), st.text())
def test_any_user_name(first: str, second: str) -> None:
    """A user name that is made from any text is valid."""
    assert check_user_name(user_name(first, second)) is None


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        (("ada@example.com",), "ada"),
        (("Ada Lovelace",), "Ada-Lovelace"),
        (("a.b_c--d",), "a-b-c-d"),
        (("me", "you@example.com"), "you"),
        (("", "", "00u1|x"), "00u1-x"),
        (("ß", ""), "user"),
        (("x" * 50,), "x" * 32),
        (("x" * 31 + "--y",), "x" * 31),
    ],
)
def test_user_names(candidates: tuple[str, ...], expected: str) -> None:
    """The first claim that gives a name is used, without what a name can't have."""
    assert user_name(*candidates) == expected


def test_nested_groups() -> None:
    """Keycloak's roles are a claim within a claim; a claim may have dots in its own name."""
    names = OidcClaims(groups="realm_access.roles")
    nested = {"sub": "1", "realm_access": {"roles": ["a", "b"]}}
    assert read_profile(nested, names).groups == {"a", "b"}
    assert read_profile({"sub": "1", "realm_access.roles": ["c"]}, names).groups == {"c"}
    url = OidcClaims(groups="https://acme.com/groups")
    assert read_profile({"sub": "1", "https://acme.com/groups": "d"}, url).groups == {"d"}


def test_too_many_groups_for_the_token() -> None:
    """Entra leaves the groups out if they are too many; that is refused, because groups limit."""
    claims = {"sub": "1", "_claim_names": {"groups": "src1"}, "_claim_sources": {}}
    with pytest.raises(ProfileRefused, match="too many groups"):
        read_profile(claims, _NAMES)


@pytest.mark.parametrize(
    ("claims", "is_verified"),
    [
        ({"email_verified": True}, True),
        ({"email_verified": "true"}, True),
        ({"email_verified": 1}, False),
        ({"email_verified": "yes"}, False),
        ({"email_verified": ["true"]}, False),
        ({}, False),
        ({"email_verified": True, "upn": "b@example.com"}, False),
        ({"email_verified": True, "upn": "a@example.com"}, True),
    ],
)
def test_email_verified_is_about_the_email(claims: dict[str, Any], is_verified: bool) -> None:
    """Only JSON's true or the text true verifies an address, and only that of the claim email."""
    names = OidcClaims(email="upn") if "upn" in claims else _NAMES
    found = read_profile({"sub": "1", "email": "a@example.com", **claims}, names)
    assert found.email_verified is is_verified


def _profile(**changed: Any) -> Profile:
    values: dict[str, Any] = {
        "subject": "1",
        "username": "ada",
        "email": "",
        "email_verified": False,
        "name": "",
        "groups": frozenset(),
    }
    return Profile(**{**values, **changed})


def test_verified_addresses() -> None:
    """An allowed domain lets in only verified addresses of exactly this domain."""
    settings = _settings(allowed_email_domains=["Example.com"])
    check_allowed(_profile(email="a@EXAMPLE.com", email_verified=True), settings)
    for email, verified in (
        ("a@example.com", False),
        ("a@sub.example.com", True),
        ("a@example.com.evil.test", True),
        ("a@evil-example.com", True),
        ("", False),
    ):
        with pytest.raises(ProfileRefused):
            check_allowed(_profile(email=email, email_verified=verified), settings)


def test_roles() -> None:
    """The highest role of a person's groups counts, and no settings mean no role."""
    settings = _settings(roles={"owner": ["o"], "user_admin": ["u"]})
    for groups, role in (
        ({"o", "u"}, "owner"),
        ({"u"}, "user-admin"),
        ({"x"}, "member"),
        (set(), "member"),
    ):
        assert role_of(_profile(groups=frozenset(groups)), settings) == role
    assert role_of(_profile(groups=frozenset({"o"})), _settings()) is None
