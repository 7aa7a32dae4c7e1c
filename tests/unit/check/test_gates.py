"""authz.check.gates in a check: the order, what a refusal gives back, and errors."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from authz.check.authorizer import Authorizer
from authz.check.ext_authz import metadata_of
from authz.config.settings import Config
from authz.core.admission import Admission, Answer
from authz.core.decision_types import refuse
from authz.core.refusals import Reason
from authz.keys.pool import KeyPool
from authz.pb.ext_authz_pb2 import CheckRequest
from authz.pb.request_metadata_pb2 import Metadata, RequestInfo
from authz.secret import Secret
from tests.support.checks import ANTHROPIC, allows, answer, question
from tests.support.identities import InMemoryIdentities

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
CHECK = question([("x-api-key", TOKEN)])


class _Central:
    def current(self) -> Secret | None:
        return Secret("sk-ant-central-0123456789")


class _Gate:
    """Counts what it has taken, and answers as it is told."""

    def __init__(self, say: Callable[[Admission], Answer | Awaitable[Answer]]) -> None:
        self._say = say
        self.taken: list[str] = []
        self.given_back: list[str] = []

    def admit(self, request: Admission) -> Answer | Awaitable[Answer]:
        self.taken.append(request.request_id)
        return self._say(request)

    def give_back(self, request: Admission) -> None:
        self.given_back.append(request.request_id)


def _passes(_: Admission) -> None:
    return None


def _refuses(request: Admission) -> Answer:
    return refuse(Reason.BUDGETS_UNAVAILABLE, identity=request.identity, retry_after=7)


async def _passes_late(_: Admission) -> Answer:
    await asyncio.sleep(0)
    return None


async def _refuses_late(request: Admission) -> Answer:
    await asyncio.sleep(0)
    return _refuses(request)


def _fails(_: Admission) -> Answer:
    raise RuntimeError("sk-secret")


async def _hangs(_: Admission) -> Answer:
    await asyncio.get_running_loop().create_future()
    return None


def _authorizer(*gates: _Gate, immediate: bool = False) -> Authorizer:
    source = InMemoryIdentities({TOKEN: "alice"})
    source.is_immediate = immediate  # type: ignore[attr-defined]
    keys = {"anthropic": KeyPool("anthropic", [_Central()], has_cooldown=False)}
    return Authorizer(Config(), source, keys, gates=gates)


@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("second", [_passes, _passes_late])
async def test_a_request_passes_every_gate(
    second: Callable[[Admission], Answer], immediate: bool
) -> None:
    """All gates are asked with the id that the log has, and keep what they took."""
    gates = (_Gate(_passes_late), _Gate(second), _Gate(_passes))
    message = await _authorizer(*gates, immediate=immediate).check(CHECK)
    assert allows(message)
    for gate in gates:
        assert gate.taken == [metadata_of(message)["entry"]]
        assert gate.given_back == []


@pytest.mark.parametrize("refusal", [_refuses, _refuses_late])
async def test_a_refusal_gives_back_what_others_took(
    refusal: Callable[[Admission], Answer],
) -> None:
    """After a refusal the later gates are not asked, and the earlier ones give back."""
    before, refusing, behind = _Gate(_passes_late), _Gate(refusal), _Gate(_passes)
    message = await _authorizer(before, refusing, behind).check(CHECK)
    assert answer(message).denied_response.status.code == 503
    assert before.given_back == before.taken == [metadata_of(message)["entry"]]
    assert behind.taken == []


async def test_an_error_of_a_gate_is_never_an_allow() -> None:
    """A gate that fails, or answers neither yes nor no, causes a 503 without the error's text."""
    before = _Gate(_passes)
    for broken in (_fails, lambda _: True, lambda _: "yes"):
        message = await _authorizer(before, _Gate(broken)).check(CHECK)  # type: ignore[arg-type]
        assert not allows(message)
        assert metadata_of(message)["reason"] == "internal_error"
        assert b"sk-secret" not in bytes(message)
    assert before.given_back == before.taken


@pytest.mark.parametrize("immediate", [False, True])
async def test_a_cancelled_check_gives_back(immediate: bool) -> None:
    """If Envoy cancels a check while a gate waits, every gate that was asked gives back."""
    gates = (_Gate(_passes), _Gate(_hangs))
    task = asyncio.create_task(_authorizer(*gates, immediate=immediate).check(CHECK))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for gate in gates:
        assert gate.given_back == gate.taken != []


async def test_a_check_that_is_dropped_before_its_task_runs() -> None:
    """A check that is dropped early gives back, and leaves no coroutine that was never awaited."""
    gate = _Gate(_passes_late)
    steps = _authorizer(gate, immediate=True).check(CHECK).__await__()
    assert next(steps) is None
    steps.close()
    assert gate.given_back == gate.taken != []


async def test_gates_without_waiting_need_no_task() -> None:
    """With an immediate source, a check whose gates answer at once does not yield."""
    steps = _authorizer(_Gate(_passes), immediate=True).check(CHECK).__await__()
    with pytest.raises(StopIteration) as done:
        next(steps)
    assert allows(done.value.value)


async def test_a_path_without_a_provider_asks_no_gate() -> None:
    """Gates are asked only about requests to a provider."""
    gate = _Gate(_passes)
    await _authorizer(gate).check(question([("x-api-key", TOKEN)], {}))
    assert gate.taken == []


async def test_the_rules_for_models_are_asked_in_each_check() -> None:
    """Requests that differ only in their model get different answers."""
    rules = {"rules": [{"deny": ["*opus*"]}]}
    config = Config.model_validate({"models": rules})
    gate = _Gate(_passes)
    pools = {"anthropic": KeyPool("anthropic", [_Central()], has_cooldown=False)}
    source = InMemoryIdentities({TOKEN: "alice"})
    authorizer = Authorizer(config, source, pools, gates=[gate])

    async def passes(model: str) -> bool:
        context = {**ANTHROPIC, "model": "body"}
        headers = [("x-api-key", TOKEN), ("content-type", "application/json")]
        message = CheckRequest.FromString(question(headers, context))
        found = Metadata()
        entry = found.typed_filter_metadata.add(key="envoy.ai.request_info")
        entry.value.type_url = "type.googleapis.com/envoy.data.ai.v3.RequestInfo"
        entry.value.value = RequestInfo(model=model).SerializeToString()
        message.attributes.metadata_context = found.SerializeToString()
        return allows(await authorizer.check(message.SerializeToString()))

    assert [await passes(model) for model in ("haiku", "opus", "haiku", "")] == [
        True,
        False,
        True,
        False,
    ]
    assert len(gate.taken) == 2
    assert gate.given_back == []
