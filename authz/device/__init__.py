"""Sign-in from Claude Code and ``authz login --device``: the device flow of RFC 8628."""
