"""Ending of open streams whose token is revoked: WebSockets, streamed answers and tunnels."""
