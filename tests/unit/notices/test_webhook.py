"""authz.notices.webhook: notices over HTTP and their signatures."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from authz.config.webhook import Webhook as Settings
from authz.config.webhook import signing_key
from authz.errors import ConfigError
from authz.notices.webhook import NotDelivered, Webhook, sign
from authz.secret import Secret
from tests.support.ports import free_port

from .conftest import SECRET, Receiver

BODY = b'{"test": 2432232314}'


def _webhook(url: str, secret: str = SECRET) -> Webhook:
    settings = Settings.model_validate({"url": url, "secret": {"env": "HOOK"}})
    return Webhook(settings, {"HOOK": secret}, clock=lambda: 1614265330.9)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example that the libraries of Standard Webhooks are tested with."""
    key = signing_key(Secret(SECRET))
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", BODY)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_notice_arrives_signed(receiver: Receiver) -> None:
    """The receiver can compute the signature from what it gets, also with a plain secret."""
    webhook = _webhook(receiver.url, "a secret of a team, long enough".replace(" ", "-"))
    await webhook.send("n1", BODY)
    await webhook.close()
    [(headers, body)] = receiver.got
    assert body == BODY
    assert headers["content-type"] == "application/json"
    assert headers["webhook-timestamp"] == "1614265330"
    signed = b"n1.1614265330." + body
    digest = hmac.new(b"a-secret-of-a-team,-long-enough", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("status", [302, 400, 410, 500])
async def test_every_other_status_is_a_failure(receiver: Receiver, status: int) -> None:
    """A redirect is a failure too, and is not followed."""
    receiver.statuses = [status]
    webhook = _webhook(receiver.url)
    with pytest.raises(NotDelivered, match=f"status {status}"):
        await webhook.send("n1", BODY)
    await webhook.close()
    assert receiver.ids == ["n1"]


async def test_a_receiver_that_is_down_is_a_failure() -> None:
    """The error names neither the URL nor the secret."""
    webhook = _webhook(f"http://127.0.0.1:{free_port()}/hook-7f3a")
    with pytest.raises(NotDelivered) as error:
        await webhook.send("n1", BODY)
    await webhook.close()
    assert "hook" not in str(error.value)
    assert SECRET not in str(error.value)


async def test_a_replaced_secret_signs_the_next_notice(receiver: Receiver, tmp_path: Path) -> None:
    """A file is read again; one that can't be used leaves the notice for later."""
    file = tmp_path / "hook.secret"
    file.write_text(SECRET)
    settings = Settings.model_validate({"url": receiver.url, "secret": {"file": file}})
    webhook = Webhook(settings, {}, clock=lambda: 1614265330.9)
    file.write_text("another-secret-of-24-characters-or-more")
    await webhook.send("n1", BODY)
    expected = sign(b"another-secret-of-24-characters-or-more", "n1", "1614265330", BODY)
    assert receiver.got[0][0]["webhook-signature"] == expected
    file.write_text("short")
    with pytest.raises(NotDelivered, match="at least 24 characters"):
        await webhook.send("n2", BODY)
    await webhook.close()


@pytest.mark.parametrize("secret", ["", "short", "whsec_not*base64*not*base64"])
def test_an_unusable_secret_is_refused_at_the_start(secret: str) -> None:
    """An unusable secret is an error that does not show it."""
    with pytest.raises(ConfigError) as error:
        _webhook("https://hooks.example.com/", secret)
    assert not secret or secret not in str(error.value)
