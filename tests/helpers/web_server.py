"""A server on this machine that behaves as badly as real ones."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Server:
    """What the server does, and what it was asked."""

    content: bytes
    url: str = ""
    cut_after: int = 0  # bytes a connection gives before it breaks; 0: never
    serves_ranges: bool = True
    status: int = 200
    failures: int = 0  # requests to answer with 503 first
    redirect: str = ""  # where requests for `url` are sent
    requests: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serve(content: bytes) -> Iterator[Server]:
    """Serve some bytes under every name."""
    state = Server(content)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(dict(self.headers))
            if state.redirect and self.path == "/file.zip":
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            if state.status != 200 or state.failures:
                state.failures = max(state.failures - 1, 0)
                self.send_error(state.status if state.status != 200 else 503)
                return
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.serves_ranges else 0
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(state.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after or None])

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_port}/file.zip"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
