"""`hamjax serve` refuses what it should not answer, and damaged requests hang nobody."""

import contextlib
import socket
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests

from hamjax.commands.serving import guard
from hamjax.commands.serving.app import MAX_IMAGES
from tests.fuzzing.requests import attack
from tests.helpers.served import encoded, post

pytestmark = [
    pytest.mark.usefixtures("quick_compiler"),
    # Starlette forgets the file of a part that never ends; it is in memory alone.
    pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"),
]
BEGUN = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"Host": "evil.example"}, 403),
        ("GET", "/v1/model", {"Host": "evil.example:80"}, 403),
        ("GET", "/v1/model", {"Host": "localhost:1"}, 200),
        ("GET", "/v1/model", {"Host": "192.168.0.7"}, 200),
        ("POST", "/v1/predict", {"Origin": "http://evil.example"}, 403),
        ("POST", "/v1/predict", {"Origin": "null"}, 403),
        ("POST", "/v1/predict", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/v1/predict", {"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ("POST", "/v1/predict", {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}, 422),
        ("POST", "/v1/predict", {"Content-Type": "text/plain"}, 422),
        ("POST", "/v1/predict", {"Content-Type": "multipart/form-data"}, 400),
        ("GET", "/v1/predict", {}, 405),
        ("GET", "/docs", {}, 404),
    ],
)
def test_other_sites_and_other_requests_are_refused_in_json(
    url: str, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = requests.request(method, url + path, headers=headers, data=b"x", timeout=10)
    assert response.status_code == status
    if status >= 400:
        assert list(response.json()) == ["detail"]
        assert isinstance(response.json()["detail"], str)
    own = requests.post(f"{url}/v1/predict", headers={"Origin": url}, timeout=10)
    assert own.status_code == 422  # its own page may ask


def test_a_server_for_other_machines_knows_its_own_names() -> None:
    names = guard.own_names("0.0.0.0")
    assert guard.is_own(f"{socket.gethostname()}:8000", names)
    assert guard.is_own("[::1]:8000", names)
    assert not guard.is_own("evil.example", names)
    assert not guard.is_own("", names)
    assert not guard.is_own(socket.gethostname(), guard.own_names("127.0.0.1"))


def test_too_much_is_refused(url: str, images: list[Path]) -> None:
    content = images[0].read_bytes()
    many = post(url, *[("a.png", content)] * (MAX_IMAGES + 1))
    assert many.status_code == 422
    assert str(MAX_IMAGES) in many.json()["detail"]
    announced = _raw(
        url, f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {guard.MAX_BYTES + 1}\r\n\r\n"
    )
    assert b" 413 " in announced.splitlines()[0]
    # Of several pieces the length is not known before.
    part = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
    piece = 2**20
    pieces = [part, *[bytes(piece)] * (guard.MAX_BYTES // piece + 1)]
    chunked = b"".join(f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in pieces)
    answer = _raw(url, f"{BEGUN}Transfer-Encoding: chunked\r\n\r\n", chunked)
    assert b" 413 " in answer.splitlines()[0]
    assert b"detail" in answer


def test_too_large_an_image_is_not_decoded(url: str) -> None:
    bomb = encoded(np.zeros((1, 1, 3), np.uint8))
    header = (20_000).to_bytes(4, "big") * 2
    at = bomb.index(b"IHDR") + 4
    wide = bomb[:at] + header + bomb[at + 8 : at + 13]
    wide += zlib.crc32(b"IHDR" + wide[at:]).to_bytes(4, "big") + bomb[at + 17 :]
    refused = post(url, ("bomb.png", wide))
    assert refused.status_code == 422
    assert "pixels" in refused.json()["detail"]


def test_a_request_that_never_ends_is_refused_and_holds_nobody_up(
    url: str, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.5)
    monkeypatch.setattr(guard, "WAITING", 2)
    begun = f"{BEGUN}Content-Length: 9\r\n\r\n"
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(_raw, url, begun) for _ in range(2)]
        time.sleep(0.2)
        busy = post(url, ("a.png", images[0].read_bytes()))
        assert (busy.status_code, list(busy.json())) == (429, ["detail"])
        assert requests.get(f"{url}/healthz", timeout=10).ok
        for answer in slow:
            assert b" 408 " in answer.result().splitlines()[0]
    assert post(url, ("a.png", images[0].read_bytes())).ok


def test_the_description_names_every_refusal(url: str) -> None:
    description = requests.get(f"{url}/openapi.json", timeout=10).json()
    responses = description["paths"]["/v1/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "403", "408", "413", "422", "429"}
    for status, each in responses.items():
        expected = "Answered" if status == "200" else "Problem"
        assert each["content"]["application/json"]["schema"]["$ref"].endswith(f"/{expected}")


def _raw(url: str, head: str, body: bytes = b"") -> bytes:
    """Send bytes as they are; return what comes back."""
    address, answer = urlsplit(url), b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        connection.sendall(head.encode())
        # The server may have answered and closed before all is sent.
        with contextlib.suppress(OSError):
            connection.sendall(body)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(2**16):
                answer += piece
    return answer


def test_raw_bytes_hang_nobody(url: str) -> None:
    statuses = attack(urlsplit(url).port or 0, 60, seed=0)
    assert {"200", "400"} <= set(statuses)
    assert requests.get(f"{url}/healthz", timeout=10).ok


@pytest.mark.slow
def test_malformed_requests_end_in_no_error_of_the_server(url: str, tmp_path: Path) -> None:
    attack(urlsplit(url).port or 0, 300, seed=1)
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    words = ["run", f"{url}/openapi.json", "--max-examples", "60", "--checks", checks, "--seed", "1", "--no-color"]
    done = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert requests.get(f"{url}/healthz", timeout=10).ok
