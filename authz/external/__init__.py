"""Checks of Envoys that authz does not configure: the facts that our own Envoy would have sent."""
