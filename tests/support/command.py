"""Runs a command of authz in the test's process, since starting Python takes half a second."""

import contextlib
import io
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from authz.cli.main import main


def run_in_process(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command line from its arguments to its exit status.

    It is for tests of what a command does. A test of the process itself (signals, closed streams,
    what the process leaves behind) starts one.

    Args:
        folder: the current folder of the command.
        arguments: of ``authz``.
        environ: the whole environment of the command.
    """
    out, err = _stream(), _stream()
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environ or {}, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(arguments)
        except SystemExit as ended:
            # As Python does at the end of a process: no status is a success.
            status = ended.code or 0
            assert isinstance(status, int), status
        else:
            raise AssertionError("the command did not exit")
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(arguments, status, *texts)


class _Buffered(io.TextIOWrapper):
    """A stream for text and bytes, like the standard streams of a process."""

    buffer: io.BytesIO


def _stream() -> _Buffered:
    return _Buffered(io.BytesIO(), encoding="utf-8", write_through=True)
