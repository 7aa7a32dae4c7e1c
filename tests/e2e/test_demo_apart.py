"""A demo and a real pair that run one after the other in one folder share nothing."""

import re

import httpx

from tests.support.pair import Pair, Provider, pair

TOKEN = re.compile(r"export CODER_TOKEN=(\S+)")
LINK = re.compile(r"/ui/first-administrator#(\S+)")


def _status(running: Pair, token: str) -> int:
    headers = {"x-api-key": token}
    return httpx.get(f"{running.url}/anthropic/v1/models", headers=headers).status_code


def _link_works(running: Pair, code: str) -> bool:
    with httpx.Client(base_url=running.url, follow_redirects=True) as client:
        page = client.get("/ui/first-administrator").text
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf is not None, page
        password = "correct horse battery"
        fields = {"csrf": csrf[1], "name": "eve", "password": password, "again": password}
        done = client.post("/ui/first-administrator", data={"code": code, **fields})
        return done.url.path == "/ui/account/tokens"


def test_a_demo_leaves_nothing_to_a_real_pair(provider: Provider) -> None:
    """Users, tokens and the administrator's link of the demo are invalid after it."""
    with pair(provider, start=False) as running:
        running.start("--demo")
        token, link = TOKEN.search(running.stdout), LINK.search(running.stdout)
        assert token is not None
        assert link is not None
        assert _status(running, token[1]) == 200
        # Without a store of their own, commands mean the demo that runs.
        created = running.command("users", "create", "bob")
        assert "the running demo" in created.stderr
        made = running.command("tokens", "create", "--user", "bob")
        assert _status(running, made.stdout.strip()) == 200
        assert "bob" in running.command("users", "list").stdout
        assert not (running.folder / "identity.db").exists()
        assert running.stop() == 0
        left = running.command("users", "list", check=False)
        assert left.returncode == 1
        assert "no store" in left.stderr

        running.start()
        assert _status(running, running.first_token) == 200
        assert _status(running, token[1]) == 401
        assert _status(running, made.stdout.strip()) == 401
        assert "bob" not in running.command("users", "list").stdout
        assert not _link_works(running, link[1])
        assert running.stop() == 0

        running.start("--demo")
        # The demo has its users again, and the real store is what commands mean.
        assert _status(running, token[1]) == 200
        assert _status(running, running.first_token) == 401
        assert "bob" not in running.command("users", "list").stdout
        (demo,) = running.folder.glob("demo-*/gateway.yaml")
        assert "bob" in running.command("users", "list", "--config", str(demo)).stdout
