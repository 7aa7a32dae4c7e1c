"""The endpoints of sign-in and of stored keys, which authenticate their callers themselves."""

import base64
import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, Pair, Provider, pair, wait_until

DEVICE = "/oauth/device_authorization"
METADATA = "/.well-known/oauth-authorization-server"
OWN_KEYS = "/api/v2/users/me/own-keys"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
FORM = ("content-type", "application/x-www-form-urlencoded")
ENDPOINTS = {
    "/oauth/token": "POST",
    DEVICE: "POST",
    "/oauth/revoke": "POST",
    METADATA: "GET",
    "/managed/settings": "GET",
    "/v1/models": "GET",
    "/v1/metrics": "POST",
    f"{OWN_KEYS}/anthropic": "PUT",
    "/ui/device": "POST",
    "/ui/cli/token": "POST",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
MASTER = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[Pair]:
    """A pair behind a balancer that ends TLS, with all kinds of sign-in and a collector."""
    sign_in = {
        "url": "https://gateway.test",
        "claude_code": {
            "managed_settings": [{"settings": {"model": "opus"}}],
            "models": [{"id": "claude-opus-4"}],
            "telemetry": {"otlp": "http://127.0.0.1:9"},
        },
    }
    with pair(provider, start=False, sign_in=sign_in, log={"access": "json"}) as made:
        (made.folder / "master.key").write_text(MASTER)
        made.settings["own_keys"] = {"keys": [{"file": str(made.folder / "master.key")}]}
        made.start()
        made.create_user("alice")
        yield made


def ask(
    running: Pair, method: str, path: str, *headers: tuple[str, str], body: str = "", host: str = ""
) -> raw.Answer:
    """Send one request and return its answer."""
    data = raw.request(method, path, headers, body.encode(), host=host or "gateway.test")
    return raw.ask(running.port, data, head=method == "HEAD")


def form(running: Pair, path: str, **fields: str) -> raw.Answer:
    """Send a form."""
    return ask(running, "POST", path, FORM, body=urlencode(fields))


def test_other_methods(running: Pair) -> None:
    """An endpoint has one method, whatever other headers claim, and refusals are not cached."""
    for path, method in ENDPOINTS.items():
        for other in METHODS:
            is_read = {other, method} == {"GET", "HEAD"}
            if other == method or is_read or path == "/v1/metrics":
                continue
            override = ("x-http-method-override", method)
            answer = ask(
                running, other, path, override, FORM, body="a=b" if method != "GET" else ""
            )
            expected = (303, 401) if path.startswith(("/ui/device", OWN_KEYS)) else ()
            assert answer.status in (405, *expected), (other, path)
            assert answer.header("cache-control") == "no-store"
            if path.startswith("/oauth") and other != "HEAD":
                assert json.loads(answer.body)["error"] == "invalid_request"


def test_telemetry_needs_a_token(running: Pair) -> None:
    """Telemetry needs a token with any method, and is a 503 while the collector is down."""
    for method in ("GET", "POST", "PUT"):
        assert ask(running, method, "/v1/metrics").status == 401
    bearer = ("authorization", f"Bearer {running.create_token('alice')}")
    assert ask(running, "POST", "/v1/metrics", bearer, body="{}").status == 503
    assert ask(running, "PUT", "/v1/metrics", bearer, body="{}").status == 404


def test_origin_in_the_metadata(running: Pair) -> None:
    """The metadata behind TLS is https for every name, and no client header changes its origin."""
    forged = (
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "http"),
        ("x-original-host", "evil.test"),
        ("forwarded", "host=evil.test;proto=http"),
    )
    for base in ("", "/anthropic"):
        answer = ask(running, "GET", f"{base}{METADATA}", *forged)
        assert (
            json.loads(answer.body)["token_endpoint"] == f"https://gateway.test{base}/oauth/token"
        )
        assert b"evil" not in answer.whole
        begun = json.loads(form(running, f"{base}{DEVICE}").body)
        assert begun["verification_uri"] == "https://gateway.test/ui/device"
    for host in ("evil.test/x", "a@evil.test", "evil.test:80:80", 'x"y', "gateway.test,evil.test"):
        answer = ask(running, "GET", METADATA, host=host)
        assert answer.status == 400, host
        assert b"evil" not in answer.body


def test_split_answers(running: Pair) -> None:
    """Line breaks in a path, a parameter or a name do not get into the headers of an answer."""
    split = "%0d%0aset-cookie:%20a=b%0d%0a%0d%0a"
    for path in (
        f"/ui/sign-in?next=/ui/{split}",
        f"/ui/sign-in?next=//evil.test/{split}",
        f"/ui/device/{split}",
        f"/ui/sign-in/{split}/callback?code=a&state=b",
        f"/ui/cli/1/{split}/c",
        f"{METADATA}/{split}",
    ):
        answer = ask(running, "GET", path)
        assert not any("evil" in value or value == "a=b" for _, value in answer.headers), path
        assert b"set-cookie: a=b" not in answer.whole.partition(b"\r\n\r\n")[0]
    agent = ("user-agent", "claude-code/1 <script>")
    assert ask(running, "POST", DEVICE, FORM, agent, body="a=b").status == 200


def test_secrets_in_the_url(running: Pair) -> None:
    """A secret in the URL is not read, and no secret of a URL or a body is logged."""
    begun = json.loads(form(running, DEVICE).body)
    token = running.create_token("alice")
    secrets = {"device_code": begun["device_code"], "refresh_token": f"{token}.in-the-url"}
    query = urlencode({"grant_type": DEVICE_CODE, **secrets, "access_token": token})
    answer = ask(running, "POST", f"/oauth/token?{query}", FORM)
    assert json.loads(answer.body)["error_description"] == "The parameter grant_type is missing."
    assert ask(running, "GET", f"/managed/settings?{query}").status == 401
    assert ask(running, "POST", f"/v1/metrics?{query}").status in (400, 401)
    for path in (
        f"/ui/device/{begun['user_code']}",
        "/ui/sign-in/x/callback?code=hidden-code&state=hidden-state",
    ):
        ask(running, "GET", path)
    for grant in (DEVICE_CODE, "refresh_token", token):
        answer = form(running, "/oauth/token", grant_type=grant, **secrets)
        assert token not in answer.whole.decode()
    form(running, "/oauth/revoke", token=secrets["refresh_token"])
    ask(running, "GET", "/the-last-one")
    wait_until(lambda: "/the-last-one" in running.stdout, what="the access log")
    for text in (running.stdout, running.stderr):
        for secret in (*secrets.values(), token, begun["user_code"], "hidden-code", "hidden-state"):
            assert secret not in text


def test_bodies_without_end(running: Pair) -> None:
    """A body is read only up to its limit, whether it declares a huge length or never ends."""
    bearer = ("authorization", f"Bearer {running.create_token('alice')}")
    for path, method, headers in (
        ("/oauth/token", "POST", (FORM,)),
        (DEVICE, "POST", (FORM,)),
        ("/oauth/revoke", "POST", (FORM,)),
        ("/ui/cli/token", "POST", (FORM,)),
        (f"{OWN_KEYS}/anthropic", "PUT", (bearer, ("content-type", "application/json"))),
    ):
        for length in ("content-length: 99999999999", "transfer-encoding: chunked"):
            name, _, value = length.partition(": ")
            head = raw.request(method, path, (*headers, (name, value)))
            with raw.Connection(running.port) as connection:
                connection.send(head)
                chunk = b"x" * 16384
                data = chunk if name == "content-length" else b"4000\r\n%b\r\n" % chunk
                try:
                    for _ in range(64):
                        connection.send(data)
                except raw.Closed:
                    pass
                assert connection.read().status in (400, 413), (path, length)


def test_own_keys_of_others(running: Pair) -> None:
    """A stored key is changed by its owner's unlimited token only, and never shown."""
    running.create_user("mallory")
    key = CENTRAL_KEYS["anthropic"].replace("sk-", "sk-0wn-")
    body = json.dumps({"key": key})
    kind = ("content-type", "application/json")
    alice, mallory = (
        ("authorization", f"Bearer {running.create_token(name)}") for name in ("alice", "mallory")
    )
    path = f"{OWN_KEYS}/anthropic"
    of_alice = path.replace("/me/", "/alice/")
    assert ask(running, "PUT", of_alice, mallory, kind, body=body).status == 404
    assert ask(running, "PUT", path, kind, body=body).status == 401
    foreign = ("origin", "https://evil.test")
    assert ask(running, "PUT", path, alice, kind, foreign, body=body).status in (400, 403)
    for bad in (f'{body[:-2]}\\r\\nx: y"}}', '{"key": 1}', '{"key": ["a"]}', "[", '{"key": ""}'):
        answer = ask(running, "PUT", path, alice, kind, body=bad)
        assert answer.status == 400
        assert key not in answer.whole.decode()
    assert ask(running, "PUT", path, alice, kind, body=body).status == 200
    for who, where in ((alice, OWN_KEYS), (mallory, OWN_KEYS), (mallory, of_alice)):
        assert key not in ask(running, "GET", where, who).whole.decode()
    assert ask(running, "DELETE", of_alice, mallory).status == 404
    assert ask(running, "DELETE", path, alice).status == 204
    assert key not in running.stdout + running.stderr
