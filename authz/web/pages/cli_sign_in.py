"""Sign in ``authz login`` on the caller's own machine (RFC 8252), with a one-time code and PKCE."""

import base64
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from authz import lifetimes
from authz.core.tokens import ID_LENGTH
from authz.errors import ManagedByCoder, StoreError
from authz.identity.audit import Actor
from authz.web.api.authentication import peer
from authz.web.pages.context import PageContext, Pages
from authz.web.pages.responses import HEADERS, not_found
from authz.web.sign_in import TooManySignIns

_log = structlog.get_logger(__name__)

_PORT = re.compile(r"[1-9][0-9]{3,4}")
_OPAQUE = re.compile(r"[0-9A-Za-z_-]{43}")
_CODE = re.compile(rf"([0-9A-Za-z]{{{ID_LENGTH}}})\.([0-9A-Za-z_-]{{43}})")
CODE_LIFETIME = timedelta(minutes=1)
_MAX_BODY_BYTES = 4096
_BAD_CODE = "The code is wrong, used or expired. Run 'authz login' again."


async def ask(context: PageContext) -> Response:
    """Ask whether a command may sign in. Nothing happens without the answer of a person."""
    port, _, _ = _parameters(context.request)
    response = context.show("cli.html", port=port)
    # The form's answer leads to the command. Without this, the browser would stop it.
    policy = HEADERS["content-security-policy"]
    response.headers["content-security-policy"] = policy.replace(
        "form-action 'self'", f"form-action 'self' http://127.0.0.1:{port}"
    )
    return response


async def approve(context: PageContext) -> Response:
    """Create a session that waits for the command, and give the command the code for it.

    Only a browser session of the caller gets here. The redirect leads to this machine only.
    """
    port, state, challenge = _parameters(context.request)
    assert context.authenticated is not None  # noqa: S101
    random = secrets.token_urlsafe(32)
    _, key = await context.store.create_session(
        context.caller,
        CODE_LIFETIME,
        login_type=context.authenticated.key.login_type,
        digest=_digest(random, challenge),
    )
    target = f"http://127.0.0.1:{port}/?code={key.id}.{random}&state={state}"
    return RedirectResponse(target, 303, headers=HEADERS)


def token_endpoint(pages: Pages) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that exchanges a code and its verifier for the session's token."""

    async def endpoint(request: Request) -> Response:
        address = peer(request)
        try:
            pages.sign_in.take_attempt(address)
            body = await _read(request)
            match = _CODE.fullmatch(body.get("code", ""))
            verifier = body.get("code_verifier", "")
            if match is None or _OPAQUE.fullmatch(verifier) is None:
                return _answer(400, {"message": _BAD_CODE})
            store = (await pages.own_store.get()).acting(Actor("nobody", ip=address))
            text = await store.reveal_session(
                match[1], _digest(match[2], challenge_of(verifier)), lifetimes.SESSION
            )
        except TooManySignIns as error:
            headers = {"retry-after": str(error.seconds)}
            return _answer(429, {"message": "Too many attempts."}, headers)
        except ManagedByCoder as error:
            return _answer(404, {"message": str(error)})
        except StoreError as error:
            _log.error("sign-in of a command: store failed", why=str(error))
            return _answer(503, {"message": "The identity store is not available. Try again."})
        if text is None:
            return _answer(400, {"message": _BAD_CODE})
        return _answer(200, {"session_token": text})

    return endpoint


def challenge_of(verifier: str) -> str:
    """Return the PKCE challenge of a verifier, with method S256."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _digest(random: str, challenge: str) -> bytes:
    """Return the digest that stands for a session's secret until the command fetches it.

    It is hashed twice, so that no token has it, and read access to the database is not enough.
    """
    return hashlib.sha256(hashlib.sha256(f"{random}.{challenge}".encode()).digest()).digest()


def _parameters(request: Request) -> tuple[int, str, str]:
    port, state, challenge = (request.path_params[name] for name in ("port", "state", "challenge"))
    if _PORT.fullmatch(port) is None or not 1024 <= int(port) <= 65535:
        raise not_found()
    if _OPAQUE.fullmatch(state) is None or _OPAQUE.fullmatch(challenge) is None:
        raise not_found()
    return int(port), state, challenge


async def _read(request: Request) -> dict[str, str]:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                return {}
        fields = [pair.split("=", 1) for pair in bytes(body).decode("ascii").split("&")]
    except (ClientDisconnect, ValueError):
        return {}
    # Neither value has a character that a form would encode.
    return {pair[0]: pair[1] for pair in fields if len(pair) == 2}


def _answer(status: int, body: dict[str, str], headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(body, status, headers={"cache-control": "no-store", **(headers or {})})
