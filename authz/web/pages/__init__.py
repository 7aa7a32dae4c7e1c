"""Serve the pages for tokens, users, usage and the audit log. The server renders them."""
