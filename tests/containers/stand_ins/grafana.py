"""Answers Grafana's health check and nothing else."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer the health check."""
        self.send_response(200 if self.path == "/api/health" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""


ThreadingHTTPServer(("", 3000), _Health).serve_forever()
