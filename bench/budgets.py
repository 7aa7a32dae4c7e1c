"""Measure what budgets add to a check on SQLite: ``python -m bench.budgets``.

No Envoy and no network, one process. CPU time of the process with all its threads, the least of
several repeats. Checks that arrive together share a transaction, so the cost of a budget is given
for several numbers of them.
"""

import asyncio
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import uvloop

from authz.budgets.admin import BudgetStore
from authz.budgets.gate import BudgetGate, Rules
from authz.budgets.money import MAXIMUM
from authz.budgets.periods import Period
from authz.check.authorizer import Authorizer
from authz.check.ext_authz import metadata_of
from authz.config.settings import Config
from authz.identity.open import open_database, open_source, open_store
from authz.identity.owners import OwnerKind
from authz.pb import ext_authz_pb2 as pb
from bench.inprocess import _least, _now
from bench.questions import BASE_URL, check_question

_REPEATS, _CHECKS, _ROUNDS = 5, 2_048, 128
_TOGETHER = (1, 8, 64, 256)


async def _least_together(
    authorizer: Authorizer, question: bytes, together: int, gate: BudgetGate | None
) -> tuple[float, float]:
    """Return the CPU time in µs of a check of which several arrive together, and of settling it."""
    took = []
    rounds = min(_ROUNDS, _CHECKS // together)
    for _ in range(_REPEATS):
        if gate is not None:
            # As its task would do: an old copy refuses every request.
            await gate.refresh()
        checking = settling = 0.0
        for _ in range(rounds):
            began = time.process_time()
            calls = [asyncio.ensure_future(authorizer.check(question)) for _ in range(together)]
            answers = await asyncio.gather(*calls)
            checked = time.process_time()
            entries = [metadata_of(one)["entry"] for one in answers]
            if pb.CheckResponse.FromString(answers[-1]).status.code:
                raise SystemExit("the check is refused")
            asked = time.process_time()
            if gate is not None:
                for one in entries:
                    gate.settle(one, 1_000)
                await gate.flush()
            checking += checked - began
            settling += time.process_time() - asked
        took.append((checking, settling))
    count = rounds * together
    checks, settles = zip(*took, strict=True)
    return min(checks) / count * 1e6, min(settles) / count * 1e6


async def _main(folder: Path) -> None:
    identity = f"sqlite:///{folder}/identity.db"
    store = await open_store(identity, create=True)
    budgets = store.part(BudgetStore)
    await budgets.prepare()
    questions = []
    for name in ("without", "with"):
        user = await store.create_user(name)
        text, _ = await store.create_token(user, None, timedelta(hours=1))
        questions.append(check_question(str(text)))
    await budgets.set_budget(OwnerKind.USER, user.id, Period.MONTH, MAXIMUM)
    (folder / "key").write_text("sk-ant-0123456789abcdef")
    provider = {"name": "anthropic", "type": "anthropic", "base_url": BASE_URL}
    provider["key"] = {"file": str(folder / "key")}  # type: ignore[assignment]
    config = Config.model_validate({"identity": identity, "providers": [provider]})
    source = await open_source(identity)
    gate = BudgetGate(lambda: open_database(identity), Rules(first_cost=1_000))
    await gate.refresh()
    plain, gated = Authorizer(config, source), Authorizer(config, source, gates=[gate])
    without, with_budget = questions

    off = _least(lambda: _now(plain.check(without)))
    on = _least(lambda: _now(gated.check(without)))
    print(f"| budgets off | {off:.1f} | 1.00 |")
    print(f"| budgets on, a request without one | {on:.1f} | {on / off:.2f} |")
    for together in _TOGETHER:
        base, _ = await _least_together(plain, with_budget, together, None)
        took, settled = await _least_together(gated, with_budget, together, gate)
        print(
            f"| with one, {together} together: reserving adds {took - base:.1f},"
            f" settling {settled:.1f} | {took:.1f} | {took / off:.2f} |"
        )
    await gate.stop(5)
    await source.close()
    await store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        uvloop.run(_main(Path(name)))
