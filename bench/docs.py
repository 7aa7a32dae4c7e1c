"""Writing a report into the documentation: a marked section of ``performance.md``, and plots."""

import re
import subprocess
import sys
from pathlib import Path

from bench.install import venv
from bench.peers.python import REQUIREMENTS
from bench.world import BenchError

_PLOT = Path(__file__).with_name("plot.py")
PLOTS = "performance"
"""The folder of plots, beside ``performance.md``."""


def write(folder: Path, text: str, figures: str, short: str) -> None:
    """Rewrite the section ``bench``, the plots with their figures, and the README's table.

    Args:
        folder: of the documentation, beside which the README is.
        text: the report.
        figures: the same as JSON.
        short: the README's section.

    Without matplotlib there are no plots, and the section says why.

    Raises:
        BenchError: ``performance.md`` or the README has no such section.
    """
    plots = folder / PLOTS
    plots.mkdir(exist_ok=True)
    (plots / "figures.json").write_text(figures + "\n")
    try:
        python = venv("plots", REQUIREMENTS / "plots.txt") / "bin" / "python"
        done = subprocess.run(
            [python, _PLOT, plots], capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            raise BenchError(f"plotting failed: {done.stderr.strip().splitlines()[-1]}")
        pictures = "\n".join(done.stdout.strip().splitlines())
    except BenchError as error:
        print(f"no plots: {error}", file=sys.stderr)
        pictures = f"No plots: {error}."
    replace_section(folder / "performance.md", "bench", f"{text.strip()}\n\n{pictures}")
    replace_section(folder.absolute().parent / "README.md", "bench.realistic", short)


def replace_section(file: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``.

    Raises:
        BenchError: the file does not have each of them once.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = file.read_text()
    section = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    new, count = section.subn(lambda _: f"{begin}\n{text.strip()}\n{end}", old)
    if count != 1:
        raise BenchError(f"{file} has {count} sections {name}, not one")
    file.write_text(new)
