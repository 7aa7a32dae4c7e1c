"""The stand-in provider in a container of authz's image. It accepts only the keys in a folder."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import uvicorn

from authz.demo.accounts import Accounts
from authz.demo.app import create_app

_FOLDER = Path("/run/accepted")
_TYPES = {"anthropic": "anthropic", "openai": "openai"}


class _Keys(Mapping[str, str]):
    """The first accepted key of each provider, read anew for each request."""

    def __getitem__(self, provider: str) -> str:
        return (_FOLDER / provider).read_text().splitlines()[0]

    def __iter__(self) -> Iterator[str]:
        return iter(_TYPES)

    def __len__(self) -> int:
        return len(_TYPES)


class _Exact(Accounts):
    """Refuses users' own keys, so that only keys that the gateway should send are accepted."""

    def is_own_key(self, provider: str, value: str) -> bool:
        """Return whether it is a further accepted key, as during the replacement of a key."""
        return value in (_FOLDER / provider).read_text().splitlines()


app = create_app(_Exact(_Keys(), _TYPES), chunk_delay=0.01)
if __name__ == "__main__":
    config = uvicorn.Config(app, "0.0.0.0", 9000, access_log=False, lifespan="off", ws="none")
    asyncio.run(uvicorn.Server(config).serve())
