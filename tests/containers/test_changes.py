"""Changes by operators while requests are on their way, none of which may fail a request."""

import re
from collections.abc import Iterator

import pytest

from tests.containers.events import renew
from tests.containers.measuring import CONNECTIONS, PAUSE
from tests.containers.stack import WAIT, Stack, documented
from tests.support.load import Load
from tests.support.pair import wait_until


@pytest.fixture
def load(stack: Stack) -> Iterator[Load]:
    """Requests of one user, none of which may fail."""
    if (stack.envoys, stack.authzs) != (2, 2):
        stack.scale(envoys=2, authzs=2)
    stack.wait_for(stack.token, 200)
    steady = Load(stack.port, {stack.token: 200}, workers=CONNECTIONS, pause=PAUSE)
    with steady.running():
        yield steady
        steady.more(100, WAIT)
    print(f"{steady.total} requests, slowest {steady.slowest:.3f} s")
    assert not steady.failed


def test_a_changed_gateway_file(stack: Stack, load: Load) -> None:
    """The documented steps serve a new provider and drop an old one."""
    stack.edit(
        "deploy/compose/gateway.yaml",
        lambda text: re.sub(
            r"^  - \{name: copilot.*$",
            "  - {name: second, type: anthropic, base_url: http://provider:9000/anthropic,"
            " key: {file: /run/secrets/anthropic_key}}",
            text,
            flags=re.MULTILINE,
        ),
    )
    change, _ = documented("A changed gateway.yaml")
    stack.run(change)
    headers = {"x-api-key": stack.token}
    answer = stack.get("/second/v1/models", headers)
    assert answer.status_code == 200, answer.text
    assert stack.get("/copilot/models", headers).status_code == 404


def test_a_change_that_needs_new_processes(stack: Stack, load: Load) -> None:
    """New containers of authz apply a setting that a reload does not apply."""
    stack.edit("deploy/compose/gateway.yaml", lambda text: f"{text}audit_keep_days: 364\n")
    change, replace_authz = documented("A changed gateway.yaml")
    # Without the last line, which replaces Envoy: an event of test_faults.py does that.
    *reload, _ = change.splitlines()
    old = stack.containers("authz")
    stack.run("\n".join(reload))

    def every_authz_says_so() -> bool:
        logs = (stack.run(f"docker logs {container} 2>&1") for container in old)
        return all("configuration kept" in log and "audit_keep_days" in log for log in logs)

    wait_until(every_authz_says_so, WAIT, "the setting in the log")
    stack.run(replace_authz)
    assert not set(old) & set(stack.containers("authz"))


def test_a_replaced_key(stack: Stack, load: Load) -> None:
    """Every authz uses a key that is written in place, as documented, within seconds."""
    old, new = stack.keys["anthropic"], "sk-ant-" + "7" * 32
    stack.accept("anthropic", f"{old}\n{new}")
    (write,) = documented("A new provider key")
    stack.run(write.replace("$ANTHROPIC_API_KEY", new))
    hint = f"{new[:4]}...{new[-4:]}"
    seen: list[str] = []

    def every_authz_uses_it() -> bool:
        answer = stack.get("/anthropic/v1/models", {"x-api-key": stack.token})
        seen.append(answer.headers["x-demo-credential-hint"])
        return len(seen) > 30 and not any(old[-4:] in one for one in seen[-30:])

    wait_until(every_authz_uses_it, WAIT, f"the key {hint} being used")
    stack.accept("anthropic", new)


def test_renewed_certificates(stack: Stack, load: Load) -> None:
    """Both sides accept new certificates of a new CA without a restart."""
    renew(stack)
    load.more(200, WAIT)
    # The connections that are open keep the old ones, so new ones have to be made.
    stack.run(f"docker restart --time 10 {stack.containers('authz')[0]}")
    load.more(300, WAIT)
