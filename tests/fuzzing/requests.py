"""Requests that no client would send, to `hamjax serve`: raw bytes, damaged at random.

    python -m tests.fuzzing.requests --port 8000 --requests 5000 --seed 1

Each must be answered below 500, or its connection closed, within some seconds. For requests that follow the API's
description and bend it, `schemathesis run http://127.0.0.1:8000/openapi.json` goes with it.
"""

import argparse
import collections
import contextlib
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.helpers.served import encoded

PATIENCE = 20  # seconds; longer is a hang
SOON = 0.25  # seconds in which a whole request is answered; the server then waits for the rest of one that is not
CLIENTS = 8
METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"\x00", b"POST" * 500)
PATHS = (b"/", b"/v1/predict", b"/v1/predict?heat_map=true", b"/v1/predict?heat_map=\xff", b"/v1/model", b"/healthz",
         b"*", b"http://evil.example/", b"//", b"/../../etc/passwd", b"/%00%ff", b"/" + b"a" * 70_000)  # fmt: skip
HEADERS = (b"Host: localhost", b"Host: evil.example", b"Host: [::1", b"Host: ", b"Content-Length: 5",
           b"Content-Length: -5", b"Content-Length: 99999999999999999999", b"Content-Length: x",
           b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Expect: 100-continue", b"Upgrade: websocket",
           b"Connection: upgrade", b"Origin: null", b"Sec-Fetch-Site: \xff", b"Content-Type: multipart/form-data",
           b"Content-Type: multipart/form-data; boundary=" + b"b" * 300, b"Content-Type: text/plain; charset=no",
           b"Content-Type: multipart/form-data; boundary=b; charset=utf-7", b": x", b"X" * 70_000,
           b"Content-Encoding: gzip", b"Range: bytes=9-1")  # fmt: skip
PART = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(dict(sorted(attack(args.port, args.requests, args.seed).items())))


def attack(port: int, count: int, seed: int) -> collections.Counter[str]:
    """Send requests; return how often each status came back.

    Raises:
        AssertionError: one was answered with 500 or above, or not at all; names its number.
    """
    with ThreadPoolExecutor(CLIENTS) as pool:
        return collections.Counter(pool.map(lambda i: _status(port, seed, i), range(count)))


def _status(port: int, seed: int, i: int) -> str:
    request = make_request(np.random.default_rng((seed, i)))
    try:
        answer = exchange(port, request)
    except TimeoutError as error:
        raise AssertionError(f"request {i} of seed {seed} hangs: {request[:300]!r}") from error
    if not answer:
        return "closed"
    status = answer.split(b" ", 2)[1].decode()
    assert status < "500", f"request {i} of seed {seed}: {answer[:300]!r} to {request[:300]!r}"
    return status


def make_request(rng: np.random.Generator) -> bytes:
    """Make a request by one of several ways to go wrong."""
    makers: Sequence[Callable[[np.random.Generator], bytes]] = (_noise, _headers, _damaged, _damaged_image)
    return makers[int(rng.integers(len(makers)))](rng)


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes and say that they are all; return what comes back.

    Raises:
        TimeoutError: the connection stays open.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        # The server may have refused and closed before it has read all.
        with contextlib.suppress(OSError):
            connection.sendall(request)
        answer = _receive(connection, SOON)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(2**16):
                answer += piece
    return answer


def _receive(connection: socket.socket, seconds: float) -> bytes:
    """Return the first bytes that come; none if the server waits for more of the request."""
    connection.settimeout(seconds)
    try:
        return connection.recv(2**16)
    except (TimeoutError, ConnectionResetError):
        return b""


def _noise(rng: np.random.Generator) -> bytes:
    return rng.bytes(int(rng.integers(1, 2000)))


def _headers(rng: np.random.Generator) -> bytes:
    def one(choices: Sequence[bytes]) -> bytes:
        return choices[int(rng.integers(len(choices)))]

    version = one((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""))
    chosen = [one(HEADERS) for _ in range(rng.integers(6))]
    head = b"\r\n".join([b" ".join((one(METHODS), one(PATHS), version)), b"Host: localhost", *chosen])
    return head + b"\r\n\r\n" + one((b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\nx", PART))


def _damaged(rng: np.random.Generator) -> bytes:
    """Damage a whole request in a few places."""
    return _damage(_request(_image(rng)), rng)


def _damaged_image(rng: np.random.Generator) -> bytes:
    """Damage only the image of a request."""
    return _request(_damage(_image(rng), rng))


def _damage(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 8)):
        at = int(rng.integers(len(damaged) + 1))
        length = int(rng.integers(1, 20))
        kind = rng.integers(3)
        if kind == 0:
            damaged[at : at + length] = rng.bytes(length)
        elif kind == 1:
            del damaged[at : at + length]
        else:
            damaged[at:at] = damaged[at : at + length] * 3
    return bytes(damaged)


def _request(image: bytes) -> bytes:
    body = PART + image + b"\r\n--b--\r\n"
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    return head + body


def _image(rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    return encoded(pixels, ("png", "jpeg")[int(rng.integers(2))])


if __name__ == "__main__":
    main()
