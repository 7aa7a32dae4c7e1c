"""A certified OpenID provider, npm's ``oidc-provider``, run by Node over HTTPS."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from authz.clients.catalog import Client, Tested
from tests.clients.installing import NotInstalledError, install

CLIENT_ID, CLIENT_SECRET = "gateway", "secret-of-the-gateway"
_SCRIPT = Path(__file__).parent / "provider.mjs"
_PACKAGE = Client(
    name="oidc-provider",
    title="oidc-provider",
    install="",
    lines={},
    notes=(),
    tested=Tested("npm", {"oidc-provider": "9.13.3"}, ""),
)
_SECONDS = 60


@dataclass
class OpenIdProvider:
    """The provider.

    Attributes:
        issuer: its URL.
        accounts: file with the claims by account.
    """

    issuer: str
    accounts: Path

    def subject(self, account: str) -> str:
        """Return the subject of an account."""
        return account

    def login(self, account: str) -> str:
        """Return the name to sign in with."""
        return account

    def set_account(self, account: str, /, **claims: Any) -> None:
        """Set the claims of an account, whose subject is its name."""
        known: dict[str, Mapping[str, Any]] = json.loads(self.accounts.read_text())
        self.accounts.write_text(json.dumps({**known, account: claims}))


@contextlib.contextmanager
def openid_provider(
    folder: Path, certificate: tuple[Path, Path], origin: str
) -> Iterator[OpenIdProvider]:
    """Run the provider until the block ends. The test skips where npm can't be had.

    Args:
        folder: for its files.
        certificate: PEM files of the chain and its key, valid for 127.0.0.1.
        origin: of the gateway, whose redirect URIs the provider knows.
    """
    try:
        modules = install(_PACKAGE, _SECONDS).modules
    except NotInstalledError as error:
        pytest.skip(f"oidc-provider is not installed: {error}")
    assert modules is not None
    # Node looks for modules beside the script.
    script = folder / "provider.mjs"
    shutil.copy(_SCRIPT, script)
    (folder / "node_modules").symlink_to(modules)
    accounts = folder / "accounts.json"
    accounts.write_text("{}")
    process = subprocess.Popen(
        ["node", script, *certificate, accounts, origin],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith('{"issuer"')), "")
        yield OpenIdProvider(json.loads(line)["issuer"], accounts)
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
