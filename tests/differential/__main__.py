"""``python -m tests.differential COMMIT``: random checks get the same answers as from a commit.

Both sides get the same bytes of the same connections, and the same changes of tokens, users, keys
and settings in between. Their answers have to be the same, byte for byte apart from the ids.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from authz.check.ext_authz import METHOD
from authz.core.tokens import generate
from authz.transport.http2 import frames
from tests.support.checks import ANTHROPIC, OPENAI, question
from tests.unit.transport.http2.wire import (
    OPENING,
    data,
    headers,
    message,
    plain_block,
    request_fields,
)

ROOT = Path(__file__).parents[2]
SIDE = Path(__file__).with_name("side.py")
Step = tuple[str, Any]
_READS_OF_A_CONNECTION = 50
_SHOWN = 1_500
_ALLOW = b"\x05allow".hex()
"""The value of the metadata's field ``decision``."""
_SET_STATUS = "UPDATE users SET status = ? WHERE id = (SELECT user_id FROM api_keys WHERE id = ?)"
_BLOCK = plain_block(request_fields(METHOD))
_CONTEXTS: tuple[dict[str, str], ...] = (
    *(ANTHROPIC, OPENAI) * 6,
    ANTHROPIC | {"supported": "false"},
    ANTHROPIC | {"supported": "own"},
    OPENAI | {"central_key": "false"},
    OPENAI | {"keyless": "true"},
    ANTHROPIC | {"base_url": "https://other.example/"},
    {"kind": "connect"},
    {"kind": "authz"},
    {},
)
_PATHS = (
    *("/anthropic/v1/messages", "/openai/v1/chat/completions", "/openai/v1/responses?a=b"),
    *("/anthropic/v1/messages?beta=true", "/x/%2e%2e/y", "/gemini?key=abc", "/"),
)
_PLAIN = (
    *(("accept", "application/json"), ("user-agent", "SDK/1"), ("anthropic-version", "2023-06-01")),
    *(("x-stainless-retry-count", "0"), ("x-stainless-retry-count", "1"), ("cookie", "a=b")),
    *(("upgrade", "websocket"), ("connection", "upgrade"), ("x-other", "\x01\xff")),
    ("x-request-id", "8a2c1b1a-1111-4111-8111-111111111111"),
)
_CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization")
_GOVERNANCE = "x-coder-ai-governance-token"
_OWN = ("sk-own-0123456789abcdef", "sk-ant-oat01-abc", "Basic abc", "", " ", "ghu_0123456789")


class Checks:
    """Creates random checks.

    Args:
        chooser: the source of chance.
        tokens: that are in the store.
    """

    def __init__(self, chooser: random.Random, tokens: Sequence[str]) -> None:
        self._chooser = chooser
        self._tokens = tokens
        self._strangers = [str(generate()[0]) for _ in range(5)]
        self._strangers += [f"{token[:11]}{'x' * 22}" for token in tokens[:3]]
        self._usual = [self._new() for _ in range(40)]

    def make(self) -> bytes:
        """Return a check, often one like an earlier one, seldom a broken one."""
        chance = self._chooser.random()
        if chance < 0.7:
            return self._chooser.choice(self._usual)
        check = self._new()
        if chance > 0.97:
            place = self._chooser.randrange(len(check))
            check = check[:place] + self._chooser.randbytes(1) + check[place + 1 :]
        elif chance > 0.9:
            self._usual[self._chooser.randrange(len(self._usual))] = check
        return check

    def _new(self) -> bytes:
        choose = self._chooser.choice
        fields = self._chooser.sample(_PLAIN, self._chooser.randrange(6))
        token = choose(self._tokens if self._chooser.random() < 0.85 else self._strangers)
        if self._chooser.random() < 0.4:
            fields.append((_GOVERNANCE, token))
            token = choose(_OWN)
        if self._chooser.random() < 0.95:
            name = choose(_CREDENTIALS)
            is_bearer = name == "authorization" and self._chooser.random() < 0.9
            fields.append((name, f"Bearer {token}" if is_bearer else token))
        if self._chooser.random() < 0.05:
            fields.append(choose(fields or list(_PLAIN)))
        self._chooser.shuffle(fields)
        return question(
            fields, choose(_CONTEXTS), choose(("POST", "GET", "CONNECT")), choose(_PATHS)
        )


def steps(chooser: random.Random, tokens: Sequence[str], checks: int) -> Iterator[Step]:
    """Return random events, including about this number of checks."""
    source = Checks(chooser, tokens)
    reads, made, stream = _READS_OF_A_CONNECTION, 0, 1
    while made < checks:
        if reads >= _READS_OF_A_CONNECTION:
            yield "open", None
            yield "read", OPENING.hex()
            yield "read", frames.window_update(0, 1 << 30).hex()
            reads, stream = 0, 1
        reads += 1
        parts = []
        for _ in range(chooser.choice((1, 1, 2, 5, 9, 20))):
            parts.append(headers(stream, _BLOCK) + data(stream, message(source.make())))
            stream += 2
            made += 1
        sent = b"".join(parts)
        cut = chooser.randrange(len(sent)) if chooser.random() < 0.2 else len(sent)
        yield "read", sent[:cut].hex()
        if chooser.random() < 0.3:
            yield _change(chooser, tokens)
        yield "read", sent[cut:].hex()


def _change(chooser: random.Random, tokens: Sequence[str]) -> Step:
    token = chooser.choice(tokens)[:10]
    status = chooser.choice((*("active",) * 6, "suspended", "dormant"))
    end = f"{chooser.choice((2020, *(2099,) * 5))}-01-01T00:00:00.000000+00:00"
    rules = chooser.choice((*(None,) * 5, '{"providers": ["openai"]}', '{"modes": ["byok"]}'))
    return chooser.choice(
        (
            ("sql", (_SET_STATUS, (status, token))),
            ("sql", ("UPDATE api_keys SET expires_at = ? WHERE id = ?", (end, token))),
            ("sql", ("UPDATE api_keys SET authz_rules = ? WHERE id = ?", (rules, token))),
            ("key", (chooser.choice(("first", "second")), f"sk-{chooser.randrange(9)}-0123456789")),
            ("byok", chooser.random() < 0.7),
        )
    )


def _side(checkout: Path, *arguments: str) -> str:
    """Run ``side.py`` with the ``authz`` of a checkout, and return what it prints."""
    done = subprocess.run(
        [sys.executable, str(SIDE), *arguments],
        env={"PYTHONPATH": str(checkout), "PATH": "/usr/bin:/bin"},
        cwd=checkout,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


@click.command()
@click.argument("commit")
@click.option("--checks", default=100_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(commit: str, checks: int, seed: int) -> None:
    """Compare this checkout with COMMIT."""
    git = ("git", "-C", str(ROOT), "worktree")
    with tempfile.TemporaryDirectory() as name:
        folder, old = Path(name), Path(name) / "checkout"
        subprocess.run([*git, "add", "--detach", str(old), commit], check=True, capture_output=True)
        try:
            # The parsers of protobuf messages are no part of a commit.
            for parser in (ROOT / "authz/pb").glob("*_pb2.py"):
                shutil.copy(parser, old / "authz/pb")
            stores = [folder / "old", folder / "new"]
            for store in stores:
                store.mkdir()
            # By the earlier commit, which may not know later tables.
            tokens = json.loads(_side(old, "make", str(stores[0])))
            shutil.copy(stores[0] / "identity.db", stores[1])
            lines = [json.dumps(step) for step in steps(random.Random(seed), tokens, checks)]
            # The keys of the configuration have to be there from the start.
            for store in stores:
                for key in ("first", "second"):
                    (store / key).write_text(f"sk-{key}-0123456789")
            (folder / "steps").write_text("\n".join(lines))
            answers = []
            for store, checkout in zip(stores, (old, ROOT), strict=True):
                _side(checkout, "run", str(store), str(folder / "steps"), str(store / "answers"))
                answers.append((store / "answers").read_text().splitlines())
            _compare(lines, *answers)
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True, capture_output=True)


def _compare(lines: Sequence[str], old: Sequence[str], new: Sequence[str]) -> None:
    assert len(lines) == len(old) == len(new)
    different = [number for number, answer in enumerate(old) if answer != new[number]]
    responses = "".join(old)
    click.echo(
        f"{len(lines):,} steps, {responses.count(b'grpc-status'.hex()):,} responses,"
        f" {responses.count(_ALLOW):,} of them allow, {len(different)} different"
    )
    if different:
        first = different[0]
        click.echo(
            f"step {first}: {lines[first][:_SHOWN]}\n"
            f"old: {old[first][:_SHOWN]}\nnew: {new[first][:_SHOWN]}"
        )
        raise SystemExit(1)


if __name__ == "__main__":
    main()
