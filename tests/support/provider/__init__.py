"""The demo's stand-in provider with what only tests need.

It accepts exact keys, records requests, fails on demand, counts large uploads, and serves rare
paths and WebSockets.
"""

from tests.support.provider.accounts import Accounts
from tests.support.provider.app import create_app
from tests.support.provider.recording import RecordedRequest
from tests.support.provider.server import Server

__all__ = ["Accounts", "RecordedRequest", "Server", "create_app"]
