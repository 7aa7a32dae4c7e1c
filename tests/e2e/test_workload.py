"""A provider's credential for the identity of the gateway, behind a real Envoy."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.certificates import Authority
from tests.support.pair import OWN_KEYS, Pair, Provider, pair
from tests.support.vendors import CREDENTIALS, Vendors, vendors

MESSAGE = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 8,
    "messages": [{"role": "user", "content": "Hello"}],
}


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendors, Authority]]:
    """The vendors' token endpoints, and their CA."""
    authority = Authority(tmp_path_factory.mktemp("vendors"), "vendors-ca")
    with vendors(authority.issue()) as running:
        yield running, authority


@pytest.fixture(scope="module")
def running(provider: Provider, vendor: tuple[Vendors, Authority]) -> Iterator[Pair]:
    """A pair that exchanges a JWT for Anthropic's credential."""
    with pair(provider, start=False) as made:
        anthropic = made.settings["providers"][0]
        settings = vendor[0].settings("anthropic", made.folder, vendor[1].ca_file)
        anthropic["key"] = {"workload": settings}
        made.start()
        made.create_user("alice")
        provider.take()
        yield made


def test_centralized(running: Pair) -> None:
    """The credential is sent as a Bearer, with Anthropic's flag added to the client's own flags.

    A client may send flags in one request and none in the next.
    """
    token = running.create_token("alice")
    for flags in (["client-flag"], [], ["client-flag", "other-flag"], []):
        own = {"anthropic-beta": ",".join(flags)} if flags else {}
        answer = httpx.post(
            f"{running.url}/anthropic/v1/messages",
            headers={"x-api-key": token, **own},
            json=MESSAGE,
            timeout=60,
        )
        assert answer.status_code == 200
        (seen,) = running.provider.take()
        expected = ("authorization", CREDENTIALS["anthropic"])
        assert (seen.credential_header, seen.credential) == expected
        assert seen.all("x-api-key") == []
        sent = [flag for line in seen.all("anthropic-beta") for flag in line.split(",")]
        assert sorted(sent) == sorted([*flags, "oauth-2025-04-20"])


def test_an_own_key(running: Pair) -> None:
    """A user's own key is passed on unchanged, without the flag."""
    answer = httpx.post(
        f"{running.url}/anthropic/v1/messages",
        headers={
            "x-coder-ai-governance-token": running.create_token("alice"),
            "x-api-key": OWN_KEYS["anthropic"],
        },
        json=MESSAGE,
        timeout=60,
    )
    assert answer.status_code == 200
    (seen,) = running.provider.take()
    assert (seen.credential_header, seen.credential) == ("x-api-key", OWN_KEYS["anthropic"])
    assert seen.all("anthropic-beta") == []


def test_nothing_is_logged(running: Pair) -> None:
    """No output contains the JWT or the credential."""
    for secret in (CREDENTIALS["anthropic"], (running.folder / "jwt").read_text().strip()):
        assert secret not in running.stdout + running.stderr
