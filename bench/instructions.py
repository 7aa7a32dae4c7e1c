"""Instructions of authz for each request, under callgrind: ``python -m bench.instructions``.

A count of instructions hardly depends on what else a machine does, so that it shows a regression of
a few percent where seconds cannot. It leaves out the kernel. It belongs to one build of Python, so
the baseline has counts for each build.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from authz.files import write_whole
from bench.counted import PARTS

BASELINE = Path(__file__).with_name("instructions.json")
WORSE = 0.05
"""The share of more instructions that ``--check`` refuses."""
_SECONDS = 300
_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)

Counts = dict[str, int]


def build() -> str:
    """Return the name of this build of Python, whose counts can be compared."""
    return f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"


def count() -> Counts:
    """Run ``bench.counted`` under callgrind and return the instructions of each part.

    Raises:
        click.ClickException: callgrind is missing or the program failed.
    """
    if shutil.which("valgrind") is None:
        raise click.ClickException("valgrind is not installed (Debian: apt install valgrind)")
    with tempfile.TemporaryDirectory() as folder:
        command = (
            *("valgrind", "--tool=callgrind", "--dump-before=getppid"),
            f"--callgrind-out-file={folder}/out",
            *(sys.executable, "-m", "bench.counted"),
        )
        # The same order of texts in each set, and no bytecode to write.
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command,
            env=environment,
            cwd=BASELINE.parents[1],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            raise click.ClickException(f"bench.counted failed:\n{done.stderr[-2000:]}")
        return {
            # Two dumps for each part; callgrind numbers them from 1.
            name: _total(Path(f"{folder}/out.{2 * number}")) // times
            for number, (name, (_, times)) in enumerate(PARTS.items(), 1)
        }


def worse(counts: Counts, baseline: Counts) -> list[str]:
    """Return a line for each part that needs more instructions than ``WORSE`` allows."""
    return [
        f"{PARTS[name][0]}: {counts[name]:,} instructions, {counts[name] / before - 1:+.1%}"
        for name, before in baseline.items()
        if counts[name] > before * (1 + WORSE)
    ]


def table(counts: Counts, baseline: Counts) -> str:
    """Return the counts beside those of the baseline, as a Markdown table."""
    lines = ["| part | instructions | baseline | change |", "| --- | --- | --- | --- |"]
    for name, (title, _) in PARTS.items():
        before = baseline.get(name)
        change = f"{before:,} | {counts[name] / before - 1:+.1%}" if before else "- | -"
        lines.append(f"| {title} | {counts[name]:,} | {change} |")
    return "\n".join(lines)


def _total(dump: Path) -> int:
    found = _TOTALS.search(dump.read_text(encoding="utf-8"))
    assert found is not None, dump
    return int(found[1])


def _read_baseline() -> dict[str, Counts]:
    if not BASELINE.exists():
        return {}
    baseline: dict[str, Counts] = json.loads(BASELINE.read_text(encoding="utf-8"))
    return baseline


@click.command()
@click.option("--check", is_flag=True, help="Compare with the baseline; exit 1 if it is worse.")
def main(*, check: bool) -> None:
    """Count the instructions of authz for each request, and write them down as the baseline."""
    baseline = _read_baseline()
    before = baseline.get(build(), {})
    if check and not before:
        raise click.ClickException(
            f"{BASELINE.name} has no counts of {build()}: check out the commit to compare with,"
            " run make bench-instructions there, and keep the file"
        )
    counts = count()
    click.echo(table(counts, before))
    if not check:
        text = json.dumps(baseline | {build(): counts}, indent=2, sort_keys=True)
        write_whole(BASELINE, f"{text}\n")
    elif problems := worse(counts, before):
        raise click.ClickException("worse than the baseline:\n" + "\n".join(problems))


if __name__ == "__main__":
    main()
