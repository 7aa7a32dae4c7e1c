"""``authz init``."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from authz.cli.init import init
from authz.config.loading import load
from authz.config.schema import schema
from authz.config.settings import Config
from authz.errors import ConfigError


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    """Return the file that the command wrote."""
    file = tmp_path / "gateway.yaml"
    result = CliRunner().invoke(init, [str(file)])
    assert result.exit_code == 0
    assert result.output == f"Created {file}. Next: `authz config check`, then `authz up`.\n"
    return file


def test_it_equals_the_defaults(starter: Path) -> None:
    """The starter file is valid, has no warnings, and changes nothing."""
    warnings: list[str] = []
    assert load(starter, warn=warnings.append, environ={}) == Config()
    assert warnings == []


def test_every_section_is_in_it(starter: Path) -> None:
    """With its optional lines the file has every section, and the schema accepts all of it."""
    text = starter.read_text()
    everything = yaml.safe_load(re.sub(r"^#(?=\w)", "", text, flags=re.MULTILINE))
    sections = {name for name, field in Config.model_fields.items() if "_" not in name}
    assert sections <= everything.keys()
    jsonschema.validate(everything, schema())
    assert len(everything) > len(yaml.safe_load(text))


def test_it_never_overwrites(starter: Path) -> None:
    """A file or a dangling link at the place is an error and stays as it is."""
    starter.write_text("mine: true\n")
    link = starter.with_name("link.yaml")
    link.symlink_to("nowhere")
    for place in (starter, link):
        result = CliRunner().invoke(init, [str(place)])
        assert isinstance(result.exception, ConfigError)
        assert str(result.exception).startswith(f"{place} exists already")
    assert starter.read_text() == "mine: true\n"
    assert not link.exists()


def test_a_missing_folder(tmp_path: Path) -> None:
    """A folder that does not exist is one line that names the file."""
    result = CliRunner().invoke(init, [str(tmp_path / "none" / "gateway.yaml")])
    assert isinstance(result.exception, ConfigError)
    assert "No such file or directory" in str(result.exception)
