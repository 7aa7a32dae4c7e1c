"""Usage with Coder as the identity source: the documented set-up, and one that can't work."""

import json

import httpx

from tests.support.coder import Coder
from tests.support.pair import Pair, Provider, pair, wait_until


def _post(running: Pair, token: str) -> int:
    body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"x-api-key": token}
    url = f"{running.url}/anthropic/v1/messages"
    return httpx.post(url, headers=headers, json=body).status_code


def test_requests_are_recorded_beside_coder(provider: Provider) -> None:
    """The first start makes the usage database, and each request has a row in it."""
    with Coder().running() as coder:
        coder.state.create_user("alice")
        token = coder.state.create_key("alice")
        usage = {"database": "sqlite:///./usage.db"}
        with pair(provider, identity=coder.url, usage=usage) as running:
            assert _post(running, token) == 200

            def is_written() -> bool:
                done = running.command("usage", "-o", "json", check=False)
                lines = json.loads(done.stdout or "[]")
                return any(line["user"] == "alice" and line["requests"] for line in lines)

            wait_until(is_written, 30, "the request having a row")
            assert (running.folder / "usage.db").stat().st_mode & 0o777 == 0o600
            ready = httpx.get(f"{running.url}/readyz")
            assert (ready.status_code, ready.text) == (200, "")


def test_rows_that_cannot_be_written_show(provider: Provider) -> None:
    """Unrecorded requests pass, and are reported by readiness, the metric and the log."""
    usage = {"database": "sqlite:///./blocked/usage.db"}
    with pair(provider, start=False, usage=usage) as running:
        (running.folder / "blocked").write_text("a file where a folder has to be")
        running.start()
        running.create_user("alice")
        assert _post(running, running.create_token("alice")) == 200
        url = f"http://127.0.0.1:{running.http_port}"
        wait_until(lambda: "usage can't be written" in httpx.get(f"{url}/readyz").text, 30)
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert "authz_usage_database_up 0.0" in httpx.get(f"{url}/metrics").text
        assert "usage can't be written" in running.stderr
