"""The page: tokens, users, usage and the audit log in a browser, made on the server."""
