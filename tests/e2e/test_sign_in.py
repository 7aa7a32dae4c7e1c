"""A person signs in through a real Envoy, and their token works until they are suspended."""

import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.support.browsing import Parsed
from tests.support.certificates import Authority
from tests.support.openid import CLIENT_ID
from tests.support.openid.scripted import ScriptedProvider, scripted_provider
from tests.support.pair import Pair, Provider, pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the identity provider."""
    return Authority(tmp_path_factory.mktemp("openid"), "openid-ca")


@pytest.fixture(scope="module")
def idp(authority: Authority) -> Iterator[ScriptedProvider]:
    """The identity provider."""
    with scripted_provider(authority.issue()) as served:
        yield served


@pytest.fixture(scope="module")
def gateway(provider: Provider, idp: ScriptedProvider, authority: Authority) -> Iterator[Pair]:
    """A pair without passwords, where the group admins are the owners."""
    company = {
        "name": "company",
        "issuer": idp.url,
        "client_id": CLIENT_ID,
        "ca_file": str(authority.ca_file),
        "roles": {"owner": ["admins"]},
    }
    with pair(provider, sign_in={"passwords": False, "oidc": [company]}) as running:
        yield running


def _ask(gateway: Pair, token: str) -> int:
    headers = {"authorization": f"Bearer {token}", "anthropic-version": "2023-06-01"}
    message = {"role": "user", "content": "Hello"}
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [message]}
    return httpx.post(
        f"{gateway.url}/anthropic/v1/messages", headers=headers, json=body
    ).status_code


def test_from_the_button_to_a_request(
    gateway: Pair, idp: ScriptedProvider, authority: Authority
) -> None:
    """The sign-in creates an owner, whose session token passes until the suspension."""
    assert "first-administrator" not in gateway.stdout
    idp.id_token = {"sub": "7", "preferred_username": "ada", "groups": ["admins", "dev"]}
    context = ssl.create_default_context(cafile=authority.ca_file)
    with httpx.Client(verify=context, follow_redirects=True) as browser:
        page = Parsed(browser.get(f"{gateway.url}/ui/sign-in").text)
        assert not page.all("input", name="password")
        link = page.one("a", class_="button main").attributes["href"]
        answer = browser.get(f"{gateway.url}{link}")
        assert answer.status_code == 200, answer.text
        assert str(answer.url) == f"{gateway.url}/ui/account/tokens"
        token = browser.cookies["authz_session"]
    assert _ask(gateway, token) == 200
    listed = gateway.command("users", "list").stdout
    assert "ada" in listed
    assert "owner" in listed
    assert "dev" in gateway.command("groups", "list").stdout
    assert idp.url in gateway.command("users", "link", "ada", "--list").stdout
    assert token not in gateway.stderr
    assert "code-0" not in gateway.stderr
    gateway.set_status("ada", "suspended")
    assert _ask(gateway, token) == 401
