"""Fallback providers behind a real Envoy: a refused request goes to another provider."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import yaml

from tests.support.pair import OWN_KEYS, Pair, free_port, pair, stand_in, wait_until
from tests.support.tls import trusting

FIRST, SECOND = "sk-first-limited-0001", "sk-second-limited-0002"
BACKUP = OWN_KEYS["chatgpt"]
ALONE = "sk-alone-limited-0003"


@pytest.fixture(scope="module")
def refused() -> dict[str, int]:
    """The keys that the stand-in refuses, with their statuses."""
    return {FIRST: 429, SECOND: 429, ALONE: 529}


@pytest.fixture(scope="module")
def running(refused: dict[str, int]) -> Iterator[Pair]:
    """A pair whose providers of one type have different base paths and accounts."""
    # The keys rest for that long, and a busy machine may need more than some seconds for a test.
    with (
        stand_in(refused=refused, retry_after=60) as provider,
        pair(provider, start=False) as made,
    ):
        url = provider.server.url

        def add(name: str, mount: str, *keys: str, **more: Any) -> dict[str, Any]:
            files = [made.folder / f"{name}-{place}.key" for place in range(len(keys))]
            for file, key in zip(files, keys, strict=True):
                file.write_text(key)
            references = [{"file": str(file)} for file in files]
            made_of = {"key": references[0]} if len(keys) == 1 else {"keys": references}
            return {"name": name, "type": "openai", "base_url": url + mount, **made_of, **more}

        made.settings["providers"] = [
            add(
                "primary",
                "/openai/v1",
                *(FIRST, SECOND),
                fallback=["backup"],
                account_headers={"openai-organization": "org-primary"},
                public_url="https://api.openai.com/v1/",
            ),
            add(
                "backup",
                "/chatgpt/backend-api/codex",
                BACKUP,
                account_headers={"openai-project": "backup"},
            ),
            add("alone", "/openai/v1", ALONE, fallback=["backup"]),
        ]
        for provider_settings in made.settings["providers"][1:]:
            provider_settings["public_url"] = f"https://{provider_settings['name']}.example.com/v1"
        made.settings["proxy"] = {
            "listen": f"127.0.0.1:{free_port()}",
            "ca": {"cert_file": "ca.pem", "key_file": "ca-key.pem"},
        }
        (made.folder / "gateway.yaml").write_text(yaml.safe_dump(made.settings))
        made.command("proxy", "ca")
        made.start()
        for user in ("alice", "bob"):
            made.create_user(user)
        yield made


def _ask(
    running: Pair, user: str, provider: str, path: str = "/v1/responses", token: str = ""
) -> httpx.Response:
    headers = {"authorization": f"Bearer {token or running.create_token(user)}"}
    url = f"{running.url}/{provider}{path}"
    return httpx.post(url, headers=headers, json={"model": "m", "input": "hi"}, timeout=30)


def _seen(running: Pair) -> list[tuple[str, str, str | None]]:
    return [(seen.provider, seen.path, seen.credential) for seen in running.provider.take()]


AT_BACKUP = ("chatgpt", "/backend-api/codex/responses", BACKUP)


def test_another_provider_answers(running: Pair) -> None:
    """The fallback provider gets the request in its own form after the only key is refused."""
    running.provider.take()
    assert _ask(running, "alice", "alone").status_code == 200
    assert _seen(running) == [("openai", "/v1/responses", ALONE), AT_BACKUP]


def test_after_all_keys(running: Pair) -> None:
    """All keys of the first provider come before the fallback, unless all are on cooldown."""
    running.provider.take()
    keys = [("openai", "/v1/responses", key) for key in (FIRST, SECOND)]
    assert _ask(running, "alice", "primary").status_code == 200
    first, second, third = running.provider.take()
    assert [(one.provider, one.path, one.credential) for one in (first, second)] == keys
    assert (third.provider, third.path, third.credential) == AT_BACKUP
    assert (first.all("openai-organization"), first.all("openai-project")) == (["org-primary"], [])
    assert (third.all("openai-organization"), third.all("openai-project")) == ([], ["backup"])
    assert not any(name.startswith("x-envoy") for name, _ in third.headers)
    wait_until(lambda: "central key on cooldown" in running.stderr, 10, "the first key's cooldown")
    assert _ask(running, "bob", "primary").status_code == 200
    assert _seen(running) == [keys[1], AT_BACKUP]
    wait_until(lambda: "all central keys on cooldown" in running.stderr, 5, "the pool exhausted")
    for user in ("alice", "bob"):
        assert _ask(running, user, "primary").status_code == 200
        assert _seen(running) == [AT_BACKUP]
    gpt = openai.OpenAI(
        base_url=f"{running.url}/primary/v1", api_key=running.create_token("alice"), max_retries=0
    )
    with gpt.responses.stream(model="gpt-test", input="hi") as stream:
        assert "stand-in" in stream.get_final_response().output_text
    assert _seen(running) == [AT_BACKUP]


def test_the_provider_that_answered_is_recorded(running: Pair) -> None:
    """Access log and usage name the fallback provider and its key."""
    token = running.create_token("alice")
    assert _ask(running, "alice", "alone", token=token).status_code == 200

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(one) for one in running.stdout.splitlines() if one.startswith("{")]
        return [one for one in found if one["token_id"] == token[:10]]

    wait_until(lambda: bool(lines()), 15, "the line")
    (line,) = lines()
    assert (line["provider"], line["mode"], line["status"]) == ("backup", "centralized", 200)
    assert (line["credential_hint"][-4:], line["upstream"][:15]) == (BACKUP[-4:], "provider_backup")

    def used() -> str:
        return running.command("usage", "--by", "provider", "-o", "json").stdout

    wait_until(lambda: "backup" in used(), 15, "its row in the usage")


def test_a_path_of_one_provider_alone(running: Pair) -> None:
    """A path of a stored response has no fallback, since the response is at one provider."""
    running.provider.take()
    answer = _ask(running, "alice", "alone", "/v1/responses/resp_1/cancel")
    assert answer.status_code == 529
    assert [seen.provider for seen in running.provider.take()] == ["openai"]


def test_the_fallback_is_forbidden(running: Pair) -> None:
    """A token that may not use the fallback provider gets the first provider's answer."""
    running.provider.take()
    made = running.command("tokens", "create", "--user", "alice", "--provider", "alone")
    (token,) = re.findall(r"\b[0-9A-Za-z]{10}-[0-9A-Za-z]{22}\b", made.stdout)
    assert _ask(running, "alice", "alone", token=token).status_code == 529
    assert [seen.credential for seen in running.provider.take()] == [ALONE]


def test_through_the_proxy(running: Pair) -> None:
    """A client of the AI Gateway Proxy, which uses the provider's own host, gets the same."""
    running.provider.take()
    token = running.create_token("bob")
    proxy = f"http://coder:{token}@{running.settings['proxy']['listen']}"
    with httpx.Client(
        proxy=proxy, verify=trusting(running.folder / "ca.pem"), timeout=20
    ) as asking:
        url = "https://alone.example.com/v1/responses"
        answer = asking.post(url, json={"model": "m", "input": "hi"})
    assert answer.status_code == 200
    assert _seen(running) == [("openai", "/v1/responses", ALONE), AT_BACKUP]


def test_the_last_fallback_needs_a_restart(running: Pair) -> None:
    """A reload that would remove the filter from the listener is refused and changes nothing."""
    file = running.folder / "gateway.yaml"
    before = file.read_text()
    settings = yaml.safe_load(before)
    for provider in settings["providers"]:
        provider.pop("fallback", None)
    file.write_text(yaml.safe_dump(settings))
    done = running.command("reload", check=False)
    file.write_text(before)
    assert done.returncode != 0
    assert "with fallback of providers: needs a restart" in done.stderr
