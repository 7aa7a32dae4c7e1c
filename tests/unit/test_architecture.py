"""docs/architecture.md and the import contracts, compared with the code."""

import re
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
_PACKAGES = {path.parent.name for path in _ROOT.glob("authz/*/__init__.py")} - {"pb"}


def _rows() -> list[str]:
    table = _PAGE.split("## Packages")[1].split("Modules in the root")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def _layers() -> list[set[str]]:
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["id"] == "direction")
    return [set(re.split(r"\s*[|:]\s*", layer)) for layer in layers]


def test_the_page_names_every_package() -> None:
    """The table of packages has a row for each package, and none for anything else."""
    assert sorted(_rows()) == sorted(_PACKAGES)


def test_the_page_has_the_order_of_the_contract() -> None:
    """A package stands above those that it may import, in the page as in the import contract."""
    position = {name: index for index, layer in enumerate(_layers()) for name in layer}
    positions = [position[name] for name in _rows()]
    assert positions == sorted(positions)


def test_the_page_names_every_module_of_the_root() -> None:
    """The modules outside of packages are those of the page and of the contract's last layer."""
    modules = {path.stem for path in _ROOT.glob("authz/*.py")} - {"__init__", "__main__"}
    (line,) = re.findall(r"^Modules in the root \((.*?)\)", _PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == modules == _layers()[-1]


def test_the_files_that_the_page_names_are_there() -> None:
    """Every path on the page leads to a file or a folder."""
    for path in re.findall(r"`((?:authz|proto|tests|envoy|bench|deploy)/[\w./-]*)`", _PAGE):
        assert (_ROOT / path).exists(), path
