"""A stand-in for Anthropic, OpenAI, ChatGPT and Copilot that says which credential reached it.

`authz up --demo` runs it for newcomers; the end-to-end tests run it, with exact keys, as the
provider behind Envoy. `accounts` says which credentials are right, `app` is the ASGI application,
`server` runs it.
"""

from authz.demo.accounts import Accounts, Credential
from authz.demo.app import create_app
from authz.demo.recording import Seen
from authz.demo.server import Server, serve

__all__ = ["Accounts", "Credential", "Seen", "Server", "create_app", "serve"]
