"""Serve the part of Coder's API that manages users and tokens, on authz's own store."""
