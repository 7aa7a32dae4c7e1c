"""One check from bytes to bytes: read, look up, decide, write the response."""
