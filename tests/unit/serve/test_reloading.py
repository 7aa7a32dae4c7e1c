"""authz.serve.reloading: the running service takes another configuration."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from authz.config.changes import fingerprint
from authz.config.settings import Config
from authz.core.decision_types import ChosenKey
from authz.errors import ConfigError, IdentityUnavailable
from authz.keys import exec_key
from authz.keys.command import Command
from authz.keys.pool import KeyPool
from authz.keys.refusal import Requester
from authz.metrics import Metrics
from authz.secret import Secret
from authz.serve.reloading import Reloadable
from tests.support.checks import answer, question
from tests.support.external_checks import external_question
from tests.support.identities import InMemoryIdentities

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
OWN = "sk-ant-own-0123456789abcdef"


class Service:
    """A service whose next configuration the test sets."""

    def __init__(self, folder: Path, **values: Any) -> None:
        self.folder = folder
        self.next: Config | Exception = self.config(**values)
        self.metrics = Metrics()
        self.source = InMemoryIdentities({TOKEN: "alice"})
        self.reloadable = Reloadable(self.config(**values), self._load, self.source, self.metrics)

    def config(self, url: str = "https://one.test/", key: str = "one", **values: Any) -> Config:
        """Return a configuration with one provider."""
        file = self.folder / key
        file.write_text(f"sk-ant-central-{key}-0123456789")
        provider = {"name": "a", "type": "anthropic", "base_url": url, "key": {"file": str(file)}}
        return Config.model_validate({"providers": [provider], **values})

    async def reload(self, config: Config | Exception) -> dict[str, Any]:
        """Reload, and return the last line of the log."""
        self.next = config
        with capture_logs() as logs:
            await self.reloadable.reload()
        return dict(logs[-1])

    async def sent(self, url: str, own: str = "") -> str | int:
        """Ask for a route of the provider.

        Returns:
            The credential that it gets, its own one included, or the status of a refusal.
        """
        headers = [("x-coder-ai-governance-token", TOKEN), *([("x-api-key", own)] if own else [])]
        context = {"provider": "a", "base_url": url, "supported": "true"}
        response = answer(await self.reloadable.check(question(headers, context=context)))
        if response.status.code == 0:
            set_by_authz = [option.header.value for option in response.ok_response.headers]
            return "".join(set_by_authz) or own
        return response.denied_response.status.code or response.error_response.status.code

    def _load(self) -> Config:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


async def test_both_are_answered_for_a_while(tmp_path: Path) -> None:
    """An Envoy with the old routes gets the old key, one with the new routes the new one."""
    service = Service(tmp_path)
    line = await service.reload(service.config("https://two.test/", "two"))
    assert line["event"] == "configuration reloaded"
    assert line["changes"] == "providers changed a"
    assert await service.sent("https://one.test/") == "sk-ant-central-one-0123456789"
    assert await service.sent("https://two.test/") == "sk-ant-central-two-0123456789"
    assert await service.sent("https://three.test/") == 503


async def test_the_old_one_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the overlap a route of the configuration before is refused."""
    monkeypatch.setattr("authz.serve.reloading.OVERLAP_SECONDS", 0.05)
    service = Service(tmp_path)
    await service.reload(service.config("https://two.test/", "two"))
    # Timers fire in order, so this one fires after the overlap's.
    await asyncio.sleep(0.1)
    assert await service.sent("https://one.test/") == 503
    assert await service.sent("https://two.test/") == "sk-ant-central-two-0123456789"


async def test_byok_counts_at_once(tmp_path: Path) -> None:
    """Switching BYOK off counts at once, for the previous configuration's routes as well."""
    service = Service(tmp_path)
    assert await service.sent("https://one.test/", OWN) == OWN
    await service.reload(service.config("https://two.test/", "two", allow_byok=False))
    for url in ("https://one.test/", "https://two.test/"):
        assert await service.sent(url, OWN) == 403
        assert str(await service.sent(url)).startswith("sk-ant-central-")


async def test_another_key_in_the_same_place(tmp_path: Path) -> None:
    """A route of both configurations is answered as in the new one, from the next request on."""
    service = Service(tmp_path)
    await service.reload(service.config(key="two"))
    assert await service.sent("https://one.test/") == "sk-ant-central-two-0123456789"


async def test_pools_tell_of_their_end_after_a_reload(tmp_path: Path) -> None:
    """The pools of a new configuration notify the same function as those of the first one."""
    told: list[tuple[str, int, float]] = []
    service = Service(tmp_path)
    first = Reloadable(
        service.config(),
        service._load,
        service.source,
        service.metrics,
        on_exhausted=lambda *values: told.append(values),
    )
    service.next = service.config("https://two.test/", "two")
    for name in ("one", "two"):
        pool = first.pools["a"]
        assert pool.on_exhausted is not None
        pool.on_exhausted(name, 1, 1.0)
        await first.reload()
    assert [name for name, *_ in told] == ["one", "two"]


async def test_external_gateways(tmp_path: Path) -> None:
    """External gateways use the new providers; without its secret a reload changes nothing."""
    secret = tmp_path / "secret"
    secret.write_text("s" * 32)
    route = {"httproute": "ai/a", "path": "/a", "provider": "a"}
    external = {"routes": [route], "secret": {"file": str(secret)}}
    service = Service(tmp_path, external_gateways=external)

    async def key() -> str:
        headers = [("x-api-key", TOKEN)]
        asked = external_question(headers, path="/a/v1/messages", httproute="ai/a")
        response = answer(await service.reloadable.check(asked))
        return response.ok_response.headers[0].header.value

    assert await key() == "sk-ant-central-one-0123456789"
    two = service.config("https://two.test/", "two", external_gateways=external)
    secret.write_text("short")
    line = await service.reload(two)
    assert line["event"] == "configuration kept: the new one can't be used"
    assert service.reloadable.config != two
    assert await key() == "sk-ant-central-one-0123456789"
    secret.write_text("t" * 32)
    await service.reload(two)
    assert await key() == "sk-ant-central-two-0123456789"
    line = await service.reload(service.config("https://two.test/", "two"))
    assert line["why"] == ["external_gateways: needs a restart"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (ConfigError(["providers: wrong", "listen: wrong"]), ["providers: wrong", "listen: wrong"]),
        ({"identity": "sqlite:///./other.db"}, ["identity: needs a restart"]),
        ({"prices": {"books": {"a": "anthropicc"}}}, None),
        ({"url": "https://two.test/", "unreadable": True}, None),
        (RuntimeError("sk-ant-secret"), None),
    ],
    ids=["wrong", "restart", "prices", "key file", "bug"],
)
async def test_the_last_good_one_is_kept(
    tmp_path: Path, broken: Exception | dict[str, Any], why: list[str] | None
) -> None:
    """A configuration that can't be used is logged and shown as a metric, and changes nothing."""
    service = Service(tmp_path)
    good = float(fingerprint(service.config()))
    if isinstance(broken, dict):
        unreadable = broken.pop("unreadable", False)
        config: Config | Exception = service.config(key="two", **broken)
        if unreadable:
            (tmp_path / "two").unlink()
    else:
        config = broken
    line = await service.reload(config)
    assert line["log_level"] == "error"
    assert line["event"].startswith("configuration kept")
    assert "sk-ant-secret" not in str(line)
    if why is not None:
        assert line["why"] == why
    assert await service.sent("https://one.test/") == "sk-ant-central-one-0123456789"
    text = service.metrics.text().decode()
    assert "authz_config_last_reload_successful 0.0" in text
    assert _value(text, "authz_config_hash") == good
    await service.reload(service.config())
    assert "authz_config_last_reload_successful 1.0" in service.metrics.text().decode()


async def test_prices_can_be_reloaded(tmp_path: Path) -> None:
    """Prices take effect with a reload, as their change says."""
    service = Service(tmp_path)
    line = await service.reload(service.config(prices={"unpriced": "refuse"}))
    assert line["event"] == "configuration reloaded"
    assert "prices is now" in line["changes"]


async def test_envoys_settings_are_not_authz_s(tmp_path: Path) -> None:
    """A changed setting that concerns only Envoy does not keep authz from reloading."""
    service = Service(tmp_path)
    line = await service.reload(
        service.config("https://two.test/", "two", envoy={"max_connections": 5})
    )
    assert line["event"] == "configuration reloaded"


async def test_resting_keys_rest_on(tmp_path: Path) -> None:
    """A pool with the same keys is kept, and a changed provider gets a new one."""
    service = Service(tmp_path)

    def pool() -> KeyPool:
        return service.reloadable.pools["a"]

    before = pool()
    await service.reload(service.config(allow_byok=False))
    assert pool() is before
    await service.reload(service.config("https://two.test/"))
    assert pool() is not before


def _value(text: str, name: str) -> float:
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def test_a_check_of_the_previous_configuration_counts_once(tmp_path: Path) -> None:
    """A check that the previous configuration answers is one check in the histogram."""
    service = Service(tmp_path)
    await service.reload(service.config(url="https://two.test/", key="two"))
    assert await service.sent("https://one.test/") == "sk-ant-central-one-0123456789"
    assert "authz_check_duration_seconds_count 1.0" in service.metrics.text().decode()


async def test_an_error_of_the_previous_configuration_has_its_format(tmp_path: Path) -> None:
    """While the source is down, a route of the previous configuration gets its provider's JSON."""
    service = Service(tmp_path)
    await service.reload(service.config(url="https://two.test/", key="two"))
    service.source.failure = IdentityUnavailable("away")
    context = {"provider": "a", "base_url": "https://one.test/", "supported": "true"}
    message = question([("x-api-key", TOKEN)], context=context)
    body = json.loads(answer(await service.reloadable.check(message)).error_response.body)
    assert "code" not in body["error"]
    assert "authz_check_duration_seconds_count 1.0" in service.metrics.text().decode()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a thread changes it
            await asyncio.sleep(0.01)


async def test_a_pool_with_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 401 runs the command early, a cooldown leaves it alone, a reload takes another command."""
    monkeypatch.setattr(exec_key, "EARLY_SECONDS", 0)
    (tmp_path / "spare").write_text("sk-ant-spare-0123456789")

    def config(vault: str) -> Config:
        keys = [{"exec": ["cat", str(tmp_path / vault)]}, {"file": str(tmp_path / "spare")}]
        provider = {"name": "a", "type": "anthropic", "base_url": "https://one.test/", "keys": keys}
        return Config.model_validate({"providers": [provider]})

    def key() -> str | None:
        chosen = service.reloadable.pools["a"].choose()
        return chosen.key.reveal() if isinstance(chosen, ChosenKey) else None

    service = Service(tmp_path)
    (tmp_path / "vault").write_text("sk-ant-first-0123456789")
    await service.reload(config("vault"))
    service.reloadable.start()
    assert key() == "sk-ant-first-0123456789"

    hint = Secret("sk-ant-first-0123456789").hint
    service.reloadable.pools["a"].refused(0, hint, 401, "", Requester())
    assert key() == "sk-ant-spare-0123456789"
    (tmp_path / "vault").write_text("sk-ant-second-0123456789")
    service.reloadable.key_refused("a", 403)
    service.reloadable.key_refused("b", 401)
    service.reloadable.key_refused("a", 401)
    await _until(lambda: key() == "sk-ant-second-0123456789")

    line = await service.reload(config("missing"))
    assert line["why"] == [
        "providers[0].keys[0]: the command ended with status 1: run it as the user of authz to "
        "see why"
    ]
    (tmp_path / "third").write_text("sk-ant-third-0123456789")
    await service.reload(config("third"))
    assert key() == "sk-ant-third-0123456789"
    first = Command(("cat", str(tmp_path / "vault")), 900, 10)
    await _until(lambda: exec_key.shared_outputs().get(first) is None)
    service.reloadable.stop()
    service.reloadable.join()


async def test_a_pool_that_is_gone_shows_no_cooldown(tmp_path: Path) -> None:
    """A cooldown survives only a reload with the same keys, in the pool and in the metric."""

    def config(*names: str, byok: bool = True) -> Config:
        keys = [{"file": str(tmp_path / name)} for name in names]
        for name in names:
            (tmp_path / name).write_text(f"sk-ant-{name}-0123456789")
        provider = {"name": "a", "type": "anthropic", "base_url": "https://one.test/", "keys": keys}
        return Config.model_validate({"providers": [provider], "allow_byok": byok})

    def shown() -> set[int]:
        cooldowns = service.metrics.cooldowns().items()
        return {key for (_, key), one in cooldowns if one.end}

    service = Service(tmp_path)
    await service.reload(config("first", "second"))
    old = service.reloadable.pools["a"]
    old.refused(0, Secret("sk-ant-first-0123456789").hint, 429, "600", Requester())
    assert shown() == {0}
    await service.reload(config("first", "second", byok=False))
    assert service.reloadable.pools["a"] is old
    assert shown() == {0}
    await service.reload(config("first", "third"))
    assert service.reloadable.pools["a"] is not old
    assert shown() == set()
    new = service.reloadable.pools["a"]
    new.refused(1, Secret("sk-ant-third-0123456789").hint, 429, "600", Requester())
    old.refused(0, Secret("sk-ant-first-0123456789").hint, 429, "900", Requester())
    assert shown() == {1}
    await service.reload(service.config())
    assert shown() == set()
