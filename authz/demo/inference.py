"""What models answer in OpenAI's format beside chat: vectors, images, speech, ranks."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.demo.body import Call, json_endpoint, read_body, require
from authz.demo.errors import ProviderError
from authz.demo.recording import Visit, new_id, visit_of
from authz.demo.script import count_words, last_said, write

_PIXEL = "R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
"""A GIF of one pixel."""


def inference_routes(base: str) -> list[Route]:
    """Return the routes below ``base``."""
    calls = {
        "embeddings": _embed,
        "moderations": _moderate,
        "completions": _complete,
        "images/generations": _draw,
        "audio/speech": _speak,
        "rerank": _rank,
    }
    uploads = {
        "images/edits": _edit,
        "images/variations": _edit,
        "audio/transcriptions": _listen,
        "audio/translations": _listen,
    }
    return [
        *(
            Route(f"{base}/{path}", json_endpoint(one), methods=["POST"])
            for path, one in calls.items()
        ),
        *(Route(f"{base}/{path}", one, methods=["POST"]) for path, one in uploads.items()),
    ]


async def _embed(visit: Visit, call: Call) -> Response:
    model = require(call, "model", str, visit.provider_type)
    given = call.get("input")
    count = len(given) if isinstance(given, list) else 1
    vectors: list[dict[str, Any]] = [
        {"object": "embedding", "index": index, "embedding": [0.25, 0.5]} for index in range(count)
    ]
    tokens = count_words(given)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": vectors, "model": model, "usage": usage})


async def _moderate(visit: Visit, call: Call) -> Response:
    result = {"flagged": False, "categories": {}, "category_scores": {}}
    return JSONResponse({"id": new_id("modr"), "model": "moderation", "results": [result]})


async def _complete(visit: Visit, call: Call) -> Response:
    model = require(call, "model", str, visit.provider_type)
    script = write(visit, model, last_said(call.get("prompt")), stream=False)
    prompt, completion = count_words(call.get("prompt")), count_words(script.text)
    choice = {"index": 0, "text": script.text, "logprobs": None, "finish_reason": "stop"}
    return JSONResponse(
        {
            "id": new_id("cmpl"),
            "object": "text_completion",
            "created": 1754524800,
            "model": model,
            "choices": [choice],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }
    )


async def _draw(visit: Visit, call: Call) -> Response:
    return JSONResponse({"created": 1754524800, "data": [{"b64_json": _PIXEL}]})


async def _speak(visit: Visit, call: Call) -> Response:
    return Response(b"RIFF\0\0\0\0WAVE", media_type="audio/wav")


async def _rank(visit: Visit, call: Call) -> Response:
    documents = require(call, "documents", list, visit.provider_type)
    ranks = [{"index": index, "relevance_score": 0.5} for index in range(len(documents))]
    return JSONResponse({"model": call.get("model"), "results": ranks})


async def _listen(request: Request) -> Response:
    size = await _uploaded(request)
    return JSONResponse({"text": f"A form of {size} bytes. {visit_of(request).credential}."})


async def _edit(request: Request) -> Response:
    await _uploaded(request)
    return JSONResponse({"created": 1754524800, "data": [{"b64_json": _PIXEL}]})


async def _uploaded(request: Request) -> int:
    """Read a form of any size, which is not taken apart, and return its size."""
    body = await read_body(request)
    if not request.headers.get("content-type", "").startswith("multipart/form-data;"):
        raise ProviderError(400, "Expected a multipart form")
    return body.size
