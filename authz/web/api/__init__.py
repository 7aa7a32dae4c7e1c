"""Coder's token API on our own store (``coder-contract.md`` sections 1.9, 5.1 and 6)."""
