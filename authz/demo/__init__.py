"""Imitate the AI providers for ``authz up --demo``, and name the credential that reached them.

`accounts` decides which credentials are accepted, `app` is the ASGI application, and `server` runs
it. The tests extend the stand-in in ``tests/support/provider``.
"""
