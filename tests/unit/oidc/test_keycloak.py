"""The same sign-in with a real Keycloak, in ``make soak``."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.openid.keycloak import Keycloak, keycloak
from tests.unit.oidc.conftest import ORIGIN, Gateway

# pytest runs these here with the provider of this module.
from tests.unit.oidc.test_sign_in import (
    test_authorization_request,
    test_back_to_the_page,
    test_first_sign_in,
    test_roles_of_groups,
    test_suspended_stays_out,
)

__all__ = [
    "test_authorization_request",
    "test_back_to_the_page",
    "test_first_sign_in",
    "test_roles_of_groups",
    "test_suspended_stays_out",
]

pytestmark = pytest.mark.skipif(
    not os.environ.get("AUTHZ_SOAK"), reason="Keycloak takes a minute to start: make soak"
)


@pytest.fixture(scope="module")
def openid(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path], authority: Authority
) -> Iterator[Keycloak]:
    """Keycloak instead of oidc-provider."""
    log = tmp_path_factory.mktemp("keycloak") / "log"
    with keycloak(certificate, authority.ca_file, ORIGIN, log) as running:
        yield running


async def test_logout_at_keycloak(gateway: Gateway, openid: Keycloak) -> None:
    """Signing out ends the session at Keycloak without a question, and leads back."""
    openid.set_account("logout-1", preferred_username="lena")
    person = gateway.person()
    await person.enter("lena")
    assert person.last.url.path == "/ui/account/tokens", person.last.text
    csrf = (await person.get("/ui/account/tokens")).csrf
    await person.post("/ui/sign-out", csrf)
    await person.open(person.last.headers["refresh"].partition("url=")[2])
    assert person.last.url.path == "/ui/sign-in", person.last.text
    page = await person.open(f"{ORIGIN}/ui/sign-in/company")
    assert page.all("input", name="password")
