"""Provider changes with authz and Envoy apart: SIGHUP, then ``envoy render --folder``."""

import signal

import httpx
import yaml

from tests.support.held import Held, HeldStream
from tests.support.pair import Provider, wait_until
from tests.support.parts import Parts, parts

KEYS = {"one": "sk-ant-one-0f3a9b7c5d1e", "two": "sk-ant-two-7c5d1e0f3a9b"}


def _write(running: Parts, **held: Held) -> None:
    """Write ``gateway.yaml`` with a provider for each, and the key that it takes."""
    providers = []
    for name, one in held.items():
        key_file = running.folder / f"{one.name}.key"
        key_file.write_text(KEYS[one.name])
        providers.append(
            {
                "name": name,
                "type": "anthropic",
                "base_url": one.url,
                "key": {"file": str(key_file)},
            }
        )
    running.settings["providers"] = providers
    (running.folder / "gateway.yaml").write_text(yaml.safe_dump(running.settings))


def test_authz_first_then_envoy(provider: Provider) -> None:
    """Both old and new routes are served until Envoy has the new ones."""
    one, two = Held("one", KEYS["one"]), Held("two", KEYS["two"])
    with (
        one.running(),
        two.running(),
        parts(provider, start=False) as running,
        httpx.Client() as client,
    ):
        _write(running, a=one)
        running.start_watching()
        token = running.create_token("alice")

        def served_by(name: str) -> str | int:
            answer = httpx.get(f"{running.url}/{name}/v1/models", headers={"x-api-key": token})
            return str(answer.json()["served_by"]) if answer.is_success else answer.status_code

        assert served_by("a") == "one"
        stream = HeldStream(client, f"{running.url}/a/v1/messages", token)
        wait_until(lambda: stream.events or stream.error)

        _write(running, a=two, b=two)
        assert running.authz is not None
        running.authz.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in running.stderr, 15, "authz' reload")
        assert served_by("a") == "one"

        result = running.command("envoy", "render", "--folder", "envoy")
        assert result.stdout + result.stderr == ""
        assert served_by("a") == "two"
        assert served_by("b") == "two"

        # The first pool needs no other bootstrap: Envoy tries the next key, and tells of the first.
        refused = running.folder / "refused.key"
        refused.write_text(KEYS["one"])
        anthropic = running.settings["providers"][0]
        anthropic["keys"] = [{"file": str(refused)}, anthropic.pop("key")]
        (running.folder / "gateway.yaml").write_text(yaml.safe_dump(running.settings))
        running.authz.send_signal(signal.SIGHUP)
        wait_until(lambda: running.stderr.count("configuration reloaded") == 2, 15, "the pool")
        result = running.command("envoy", "render", "--folder", "envoy")
        assert result.stdout + result.stderr == ""
        assert served_by("a") == "two"
        assert two.strangers == [KEYS["one"]]
        two.strangers.clear()

        running.settings["envoy"] = {"max_connections": 77}
        _write(running, a=two, b=two)
        result = running.command("envoy", "render", "--folder", "envoy")
        assert result.stderr == "bootstrap.json has changed: restart Envoy.\n"
        one.release()
        stream.join()
        stream.assert_whole()
        assert one.strangers == two.strangers == []
