"""The canned answer's process: from C where there is a compiler, else from Python."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench import canned, upstream
from bench.install import OUT
from bench.world import BenchError

_SOURCE = Path(__file__).with_name("canned.c")


def command(socket: Path, folder: Path) -> tuple[list[str | Path], str]:
    """Return the command that serves the canned answer, and the language it is written in.

    Args:
        socket: the Unix socket to listen on.
        folder: for what the program reads.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return [sys.executable, "-m", "bench.canned", socket, upstream.CENTRAL_KEY], "Python"
    hello, answer = folder / "hello.bin", folder / "answer.bin"
    hello.write_bytes(canned.HELLO)
    message = canned.canned_answer(upstream.CENTRAL_KEY)
    answer.write_bytes(canned.answer_frames(message, 0))
    return [_compiled(compiler), socket, hello, answer], "C"


def _compiled(compiler: str) -> Path:
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    program = OUT / f"canned-{digest}"
    if not program.exists():
        OUT.mkdir(exist_ok=True)
        unfinished = OUT / f"{program.name}.{os.getpid()}"
        built = subprocess.run(
            [compiler, "-O2", "-o", unfinished, _SOURCE],
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            raise BenchError(f"canned.c does not compile: {built.stderr.strip()[:200]}")
        unfinished.rename(program)  # two runs at once must not see half a program
    return program
