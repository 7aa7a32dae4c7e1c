"""authz.identity.open."""

from pathlib import Path

import pytest

from authz.errors import ConfigError, IdentityUnavailable, StoreError
from authz.identity.open import open_source, open_store


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://u:hunter2@host:x/db", "identity: the URL's host or port"),
        ("nonsense", "identity: the URL's scheme"),
    ],
)
async def test_other_urls_are_refused(url: str, text: str) -> None:
    """A URL that can't be opened is a configuration error that names its key."""
    with pytest.raises(ConfigError, match=text) as caught:
        await open_source(url)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match=text):
        await open_store(url, create=True)


async def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is looked up in the working directory, at the moment of opening."""
    monkeypatch.chdir(tmp_path)
    store = await open_store("sqlite:///./.authz/identity.db", create=True)
    source = await open_source("sqlite:///.authz/identity.db")
    monkeypatch.chdir("/")
    await store.create_user("alice")
    await source.check_ready()
    await source.close()
    await store.close()
    assert (tmp_path / ".authz" / "identity.db").is_file()


async def test_nothing_is_made_unasked(path: Path) -> None:
    """Without create, and in a source, a missing store is an error and stays missing."""
    with pytest.raises(StoreError, match="users create"):
        await open_store(f"sqlite:///{path}", create=False)
    source = await open_source(f"sqlite:///{path}")
    with pytest.raises(IdentityUnavailable):
        await source.check_ready()
    assert not path.parent.exists()


async def test_a_coder_deployment_is_a_source_and_no_store() -> None:
    """Coder's URL opens without asking it; its users and tokens are managed there."""
    source = await open_source("https://coder.example.com")
    assert type(source).__name__ == "CoderSource"
    await source.close()
    with pytest.raises(ConfigError, match="Coder manages the tokens: use 'coder tokens create'"):
        await open_store("https://coder.example.com", create=True)
