"""What stands before the API: who may ask, how much, how long, and how many at a time."""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BYTES = 32 * 2**20  # of a request: several photographs of a phone
SECONDS = 60  # for a request, from its first byte to the answer
WAITING = 64  # requests at a time
# A page that is shown inside another can be clicked on without knowing; nothing is fetched from elsewhere.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
CLOSE = {"Connection": "close"}  # what is still to come of a request is not read
# What the description says of each refusal.
REFUSALS = {
    403: "the Host header is none of this server's names, or another site's page asks",
    408: f"not sent and answered within {SECONDS} seconds",
    413: f"more than {MAX_BYTES:,} bytes",
    429: f"more than {WAITING} requests are waiting",
}


class Guard:
    """ASGI middleware that refuses, with JSON, what the API should not see; and sets the headers of all answers.

    Args:
        app: what it stands before.
        host: that the server listens on.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = own_names(host)
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_ENCODED]
            await send(message)

        refused = self._refused(scope["method"], Headers(scope=scope))
        if refused is not None:
            await _problem(refused, scope, receive, send_with_headers)
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(SECONDS):
                await self._app(scope, _counted(receive), send_with_headers)
        except TimeoutError:
            await _problem(408, scope, receive, send_with_headers)
        finally:
            self._waiting -= 1

    def _refused(self, method: str, headers: Mapping[str, str]) -> int | None:
        if not is_own(headers.get("host", ""), self._names) or (method == "POST" and is_cross_site(headers)):
            return 403
        # Its length is a number: the server has read it.
        if int(headers.get("content-length", 0)) > MAX_BYTES:
            return 413
        return 429 if method == "POST" and self._waiting >= WAITING else None


_ENCODED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


def own_names(host: str) -> set[str]:
    """Return the names by which the server may be asked for; addresses are always its own.

    Args:
        host: that it listens on. Beyond this machine it is known by the machine's names, too.
    """
    names = {"localhost", host.lower()}
    return (
        names
        if host == "localhost" or _is_loopback(host)
        else names | {socket.gethostname().lower(), socket.getfqdn().lower()}
    )


def is_own(host: str, names: set[str]) -> bool:
    """Return whether a Host header names this server.

    A page of another site can have its own name lead to this machine; a browser then takes our answers for that site's.
    It needs a name for that, never an address.
    """
    name = _without_port(host)
    return name in names or _address(name) is not None


def is_cross_site(headers: Mapping[str, str]) -> bool:
    """Return whether a browser says that a page of another site asks; other programs say nothing."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    # Browsers leave the first out where a page came over plain HTTP from another machine.
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _counted(receive: Receive) -> Receive:
    """Return a source of the same messages that stops at too many bytes: a length need not be announced."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BYTES:
            raise HTTPException(413, REFUSALS[413], CLOSE)
        return message

    return counted


async def _problem(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"detail": REFUSALS[status]}, status, CLOSE)(scope, receive, send)


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback
