"""OpenAI's further calls, with its SDK and the company's key: embeddings, images, speech."""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.pair import CENTRAL_KEYS, Pair, wait_until

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def client(gateway: Pair) -> Iterator[openai.OpenAI]:
    """The SDK with a Coder token as its key."""
    token = gateway.create_token("alice")
    with openai.OpenAI(base_url=f"{gateway.url}/openai/v1", api_key=token, max_retries=0) as made:
        yield made


def _file(size: int = 1000) -> Any:
    return ("a.mp3", io.BytesIO(b"x" * size), "audio/mpeg")


def _upload(client: openai.OpenAI, path: str) -> dict[str, Any]:
    """Upload a file as the SDK does, without its warning that the path is old."""
    answer = httpx.post(
        f"{client.base_url}{path}",
        headers={"authorization": f"Bearer {client.api_key}"},
        files={"file": _file()},
    )
    body: dict[str, Any] = answer.json()
    return body


def test_every_inference_call(gateway: Pair, client: openai.OpenAI) -> None:
    """Each call reaches the provider at its path, with the central key."""
    gateway.provider.take()
    assert len(client.embeddings.create(model="e", input=["a", "b"]).data) == 2
    assert not client.moderations.create(input="a").results[0].flagged
    assert "stand-in" in client.completions.create(model="c", prompt="Hello").choices[0].text
    assert client.images.generate(prompt="a").data
    assert client.images.edit(image=_file(), prompt="a").data
    assert _upload(client, "images/variations")["data"]
    assert client.audio.speech.create(model="s", voice="a", input="a").read()
    assert client.audio.transcriptions.create(model="w", file=_file()).text
    assert _upload(client, "audio/translations")["text"]
    seen = gateway.provider.take()
    assert [visit.path.removeprefix("/v1/") for visit in seen] == [
        "embeddings",
        "moderations",
        "completions",
        "images/generations",
        "images/edits",
        "images/variations",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
    ]
    assert {visit.credential for visit in seen} == {CENTRAL_KEYS["openai"]}


def test_a_large_upload_streams(gateway: Pair, client: openai.OpenAI) -> None:
    """A recording of 40 MB arrives complete."""
    text = client.audio.transcriptions.create(model="w", file=_file(40 * MEBIBYTE)).text
    size = int(text.split()[3])
    assert 40 * MEBIBYTE < size < 40 * MEBIBYTE + 2000


def test_an_upload_begins_before_it_ends(gateway: Pair) -> None:
    """The provider receives the request while the client is still sending it."""
    gateway.provider.take()
    reached: list[bool] = []

    def form() -> Iterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield b"x" * 2 * MEBIBYTE
        wait_until(lambda: gateway.provider.seen, 10, "the request at the provider")
        reached.append(True)
        yield b"\r\n--x--\r\n"

    answer = httpx.post(
        f"{gateway.url}/openai/v1/audio/transcriptions",
        headers={
            "x-api-key": gateway.create_token("alice"),
            "content-type": "multipart/form-data; boundary=x",
        },
        content=form(),
        timeout=30,
    )
    assert reached == [True]
    assert str(2 * MEBIBYTE)[:3] in answer.json()["text"]


def test_an_upload_is_not_changed(gateway: Pair) -> None:
    """An upload reaches the provider byte for byte."""
    body = bytes(range(256)) * 20_000
    headers = {"content-type": "application/octet-stream", "x-api-key": gateway.create_token("bob")}
    url = f"{gateway.url}/openai/v1/embeddings"
    answer = httpx.post(url, headers=headers, content=body, timeout=60)
    assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_model_with_a_slash(gateway: Pair, client: openai.OpenAI) -> None:
    """A slash in a model name, which the SDK escapes, reaches the provider escaped."""
    gateway.provider.take()
    assert client.models.retrieve("mistralai/mistral-7b").id == "mistralai/mistral-7b"
    (seen,) = gateway.provider.take()
    assert seen.path == "/v1/models/mistralai%2Fmistral-7b"


@pytest.mark.parametrize(
    ("base", "advice"),
    [
        ("/openai", '"/v1" is missing in the path: let the base URL end in /openai/v1.'),
        ("/openai/v1/v1", '"/v1" is in the path twice: let the base URL end in /openai.'),
    ],
)
def test_a_wrong_base_url(gateway: Pair, client: openai.OpenAI, base: str, advice: str) -> None:
    """The SDK's error for a wrong base URL says how to correct it."""
    wrong = client.with_options(base_url=f"{gateway.url}{base}")
    with pytest.raises(openai.NotFoundError) as caught:
        wrong.embeddings.create(model="e", input="a")
    assert advice in caught.value.message


def test_what_gives_more_rights_stays_out(client: openai.OpenAI) -> None:
    """Files, batches and tuning are off by default, and the error names the setting to add them."""
    for call in (
        lambda: client.files.list(),
        lambda: client.batches.list(),
        lambda: client.fine_tuning.jobs.list(),
    ):
        with pytest.raises(openai.NotFoundError, match="extra_paths of provider"):
            call()
