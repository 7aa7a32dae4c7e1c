"""docker-compose.yml from empty volumes to the first answer, by the documented commands."""

import httpx

from tests.containers.stack import WAIT, Stack, documented, find_token
from tests.support.pair import wait_until

MESSAGE = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


def _post(stack: Stack, path: str, headers: dict[str, str], **body: object) -> httpx.Response:
    url = f"http://127.0.0.1:{stack.port}{path}"
    return httpx.post(url, headers=headers, json={**MESSAGE, **body}, timeout=30)


def test_each_provider_answers_with_the_central_key(stack: Stack) -> None:
    """Requests in both formats reach the provider with the key of the secrets' folder."""
    answers = [
        _post(stack, "/anthropic/v1/messages", {"x-api-key": stack.token}),
        _post(stack, "/openai/v1/chat/completions", {"authorization": f"Bearer {stack.token}"}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-demo-credential-kind"] == "centralized"


def test_a_stream_arrives(stack: Stack) -> None:
    """A streamed answer comes through both Envoys as events, to its end."""
    answer = _post(stack, "/anthropic/v1/messages", {"x-api-key": stack.token}, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "event: message_stop" in answer.text


def test_the_provider_refuses_a_wrong_key(stack: Stack) -> None:
    """The stand-in provider refuses any other central key."""
    key = stack.keys["anthropic"]
    stack.accept("anthropic", "sk-ant-another")
    try:
        assert stack.models(stack.token).status_code != 200
    finally:
        stack.accept("anthropic", key)
    stack.wait_for(stack.token, 200)


def test_a_removed_token_is_refused(stack: Stack) -> None:
    """The next request with a token that was removed gets 401."""
    stack.authz("users", "create", "bob")
    printed = stack.authz("tokens", "create", "--user", "bob")
    token = find_token(printed)
    assert stack.models(token).status_code == 200
    stack.authz("tokens", "remove", token.partition("-")[0])
    answer = stack.models(token)
    assert answer.status_code == 401, answer.text


def test_no_secret_is_in_a_log(stack: Stack) -> None:
    """Neither a token nor a key nor a password is printed by the containers."""
    printed = "".join(stack.compose.get_logs())
    values = [stack.token, *stack.keys.values()]
    values += [path.read_text().strip() for path in (stack.folder / "secrets").iterdir()]
    assert not [value for value in values if value in printed]


def test_both_scale_at_once(stack: Stack) -> None:
    """Replicas of Envoy and authz change by variables, and changing one leaves the other alone."""
    (more,) = documented("More or fewer replicas")
    stack.run(more)
    assert (len(stack.containers("envoy")), len(stack.containers("authz"))) == (3, 4)
    wait_until(lambda: stack.models(stack.token).status_code == 200, WAIT, "an answer")
    stack.scale(envoys=3, authzs=2)
    assert (len(stack.containers("envoy")), len(stack.containers("authz"))) == (3, 2)
    stack.scale(envoys=2, authzs=2)
    assert stack.models(stack.token).status_code == 200


def test_prometheus_sees_every_replica(stack: Stack) -> None:
    """Prometheus scrapes each container of Envoy and authz, found by name."""
    query = "http://127.0.0.1:9090/api/v1/query?query=up"

    def up() -> bool:
        command = ["wget", "-q", "-O", "-", query]
        output, _, _ = stack.compose.exec_in_container(command, "prometheus")
        seen = int(output.count('"1"]'))
        return seen >= len(stack.containers("envoy") + stack.containers("authz"))

    wait_until(up, WAIT, "every replica being scraped")
    httpx.get(f"http://127.0.0.1:{stack.grafana_port}/api/health", timeout=10).raise_for_status()
