"""A stand-in and a ``gateway.yaml`` with the provider types that a fresh installation lacks."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.pair import Pair, Provider, free_port, pair
from tests.support.provider import Accounts, RecordedRequest, Server

ACCESS_KEY = "AKIACENTRAL7C5D1E0F3"
SECRET_KEY = "central/secret+0f3a9b7c5d1e0f3a9b7c5d1e"
SESSION_TOKEN = "session//central+0f3a9b7c"
REGION = "eu-central-1"

CENTRAL = {
    "azure": "0f3a9b7c5d1e0f3a9b7c5d1e0f3a9b7c",
    "gemini": "AIzaCentral0f3a9b7c5d1e",
    "google": "AIzaCompat7c5d1e0f3a9b",
    "openai": "sk-central-7c5d1e0f3a9b",
    "compat": "sk-compat-0f3a9b7c5d1e",
    "bedrock": ACCESS_KEY,
}
OWN = {
    "azure": "1e0f3a9b7c5d1e0f3a9b7c5d1e0f3a9b",
    "gemini": "AIzaOwn5d1e0f3a9b7c",
    "google": "AIzaOwnToo3a9b7c5d1e0f",
    "openai": "sk-own-1e0f3a9b7c5d",
    "compat": "sk-own-compat-5d1e0f3a",
    "bedrock": "bedrock-api-key-own0f3a9b7c",
    "mantle": "bedrock-api-key-mantle7c5d1e",
    "copilot": "gho_own9b7c5d1e0f3a",
}
OAUTH = {"azure": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvd24ifQ.ZW50cmE", "gemini": "ya29.own-5d1e0f3a"}
"""Users' own credentials that are sent as a Bearer: tokens of Entra ID and Google's OAuth."""
STAND_INS = {
    "azure": "azure",
    "gemini": "gemini",
    "google": "openai",
    "openai": "openai",
    "compat": "openai",
    "bedrock": "bedrock",
    "mantle": "bedrock",
    "copilot": "copilot",
}


@contextlib.contextmanager
def stand_in() -> Iterator[Provider]:
    """Run a stand-in for all of these types."""
    seen: list[RecordedRequest] = []
    own = frozenset({*OWN.values(), *OAUTH.values()})
    accounts = Accounts(central=CENTRAL, own=own, types=STAND_INS)
    with Server(accounts, port=free_port(), observer=seen.append, chunk_delay=0.001) as server:
        yield Provider(server, seen)


def providers(url: str, folder: Path) -> list[dict[str, Any]]:
    """Return the section of ``gateway.yaml``; keys are files in the folder."""
    for name, key in CENTRAL.items():
        (folder / f"{name}.key").write_text(key)
    aws = folder / "aws" / "credentials"
    aws.parent.mkdir(exist_ok=True)
    aws.write_text(
        f"[ai]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n"
        f"aws_session_token={SESSION_TOKEN}\n"
    )

    def keyed(name: str, path: str = "", **more: Any) -> dict[str, Any]:
        key = {"file": str(folder / f"{name}.key")}
        kind = {"type": name, "base_url": f"{url}/{name}{path}", "key": key}
        return {"name": name, **kind, **more}

    extra = [
        {"path": "/v1/batches", "methods": ["POST"]},
        {"path": "/v1/files/*", "methods": ["GET", "DELETE"], "central_key": True},
    ]
    signing = {"region": REGION, "credentials_file": str(aws), "profile": "ai"}
    return [
        keyed("azure"),
        keyed("gemini"),
        keyed("google", "/v1"),
        keyed("openai", "/v1", extra_paths=extra),
        keyed(
            "compat",
            "/v1",
            type="openai-compat",
            credential_headers=["X-Team-Key"],
            account_headers={"OpenAI-Organization": "org-company", "X-Fixed": "yes"},
        ),
        {"name": "bedrock", "type": "bedrock", "base_url": f"{url}/bedrock", "aws": signing},
        {"name": "mantle", "type": "bedrock", "base_url": f"{url}/mantle"},
        {"name": "copilot", "type": "copilot", "base_url": f"{url}/copilot"},
    ]


@contextlib.contextmanager
def pair_of_every_type(provider: Provider, folder: Path, **settings: Any) -> Iterator[Pair]:
    """Run a pair with the users alice and bob."""
    listed = providers(provider.server.url, folder)
    with pair(provider, providers=listed, **settings) as running:
        running.create_user("alice")
        running.create_user("bob")
        yield running


def is_signed(seen: RecordedRequest, url: str, secret_key: str = SECRET_KEY) -> bool:
    """Verify with AWS's own library the SigV4 signature of a request at the stand-in.

    Args:
        seen: the request.
        url: of the stand-in; the path that was signed has the provider's name in front.
        secret_key: what it should be signed with.
    """
    headers = dict(seen.headers)
    scheme, _, fields = headers["authorization"].partition(" ")
    parts = dict(field.strip().split("=", 1) for field in fields.split(","))
    signed = parts["SignedHeaders"].split(";")
    assert scheme == "AWS4-HMAC-SHA256"
    demanded = {"host", *(name for name in headers if name.startswith("x-amz-"))}
    assert demanded <= set(signed) <= {*demanded, "content-type"}
    query = f"?{seen.query}" if seen.query else ""
    request = AWSRequest(
        method=seen.method,
        url=f"{url}/{seen.provider}{seen.path}{query}",
        headers={name: headers[name] for name in signed},
    )
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials(ACCESS_KEY, secret_key, SESSION_TOKEN), "bedrock-mantle", REGION)
    assert parts["Credential"] == auth.scope(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return bool(auth.signature(text, request) == parts["Signature"])
