"""`hamjax serve`: the API, and what stands before it."""

import base64
import contextlib
import io
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image

from hamjax.commands.serving import guard
from hamjax.commands.serving.app import MAX_IMAGES
from hamjax.commands.serving.batcher import Batcher, batch_sizes, fitting_size
from hamjax.data.classes import CLASSES
from hamjax.data.unlabelled import decode_image
from hamjax.evaluation.image_scorer import ImageScorer
from hamjax.evaluation.predict import predict
from hamjax.evaluation.prediction import Predictions
from tests.fuzzing.requests import attack
from tests.helpers import program
from tests.helpers.html_reader import Reader
from tests.helpers.report_fixture import full_summary
from tests.helpers.served import encoded, serving, write_reported_run
from tests.helpers.untrained_run import varied_images

pytestmark = [
    pytest.mark.usefixtures("quick_compiler"),
    # Starlette forgets the file of a part that never ends; it is in memory alone.
    pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"),
]
COUNT = 5
BEGUN = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("served") / "run"
    write_reported_run(workdir)
    return workdir


@pytest.fixture(scope="module")
def url(run: Path) -> Iterator[str]:
    with serving(run) as address:
        yield address


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for i, pixels in enumerate(varied_images(COUNT, 48)):
        (folder / f"lesion_{i}.png").write_bytes(encoded(pixels))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def predicted(run: Path, images: list[Path]) -> Predictions:
    return predict(run, images)


def _post(url: str, *files: tuple[str, bytes], **options: Any) -> requests.Response:
    return requests.post(f"{url}/v1/predict", files=[("images", file) for file in files], timeout=60, **options)


def test_several_images_get_what_predict_says_of_them(url: str, images: list[Path], predicted: Predictions) -> None:
    response = _post(url, *((path.name, path.read_bytes()) for path in images))
    assert response.status_code == 200
    answer = response.json()
    assert answer["unreadable"] == []
    for path, found, expected in zip(images, answer["images"], predicted.images, strict=True):
        assert found["path"] == path.name
        assert found["predicted"] == expected.score.predicted
        probabilities = [found["probabilities"][dx] for dx in CLASSES]
        np.testing.assert_allclose(probabilities, expected.score.probabilities, rtol=0, atol=1e-6)
        assert expected.score.calibrated is not None
        calibrated = [found["calibrated"][dx] for dx in CLASSES]
        np.testing.assert_allclose(calibrated, expected.score.calibrated, rtol=0, atol=1e-6)
        assert [each["unlike"] for each in found["unlike"]] == list(expected.score.unlike)
        assert isinstance(found["melanoma_at_specificity_0.9"], bool)
        assert found["set"] == expected.score.classes_in_set("marginal")
        assert found["heat_map"] is None
    assert str(images[0].parent.parent) not in response.text  # where the run lies is nobody's business


def test_a_heat_map_lies_over_the_image_in_its_size(url: str, images: list[Path]) -> None:
    response = _post(url, ("a.png", images[0].read_bytes()), params={"heat_map": "true"})
    (found,) = response.json()["images"]
    kind, content = found["heat_map"].split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as overlay:
        assert (overlay.mode, overlay.size) == ("RGBA", (16, 16))
    assert found["predicted"] in found["heat_map_text"]


def test_what_cannot_be_read_is_listed_beside_the_others(url: str, images: list[Path]) -> None:
    files = [("a.png", images[0].read_bytes()), ("b.jpg", b"no image"), ("home/secret/c.png", images[1].read_bytes())]
    answer = _post(url, *files).json()
    assert [each["path"] for each in answer["images"]] == ["a.png", "c.png"]
    assert answer["unreadable"] == [{"path": "b.jpg", "reason": "no JPEG or PNG"}]
    refused = _post(url, ("b.jpg", b"no image"))
    assert (refused.status_code, refused.json()) == (422, {"detail": "b.jpg: no JPEG or PNG"})


def test_the_model_says_what_it_was_trained_on_and_for_whom_it_is_worse(url: str) -> None:
    facts, summary = requests.get(f"{url}/v1/model", timeout=10).json(), full_summary()
    assert "not a medical device" in facts["use"]
    assert facts["training_images"]["mel"] == summary["split"]["counts"]["train"]["mel"]
    scores = {each["title"]: each for each in facts["scores"]}
    interval = summary["intervals"]["balanced_accuracy"]
    assert scores["balanced accuracy"]["value"] == summary["balanced_accuracy"]
    assert scores["balanced accuracy"]["interval"] == {"low": interval["low"], "high": interval["high"]}
    rows = [row for rows in summary["subgroups"].values() for row in rows]
    assert len(facts["subgroups"]) == len(rows)
    of_all = summary["balanced_accuracy"]
    for each in facts["subgroups"]:
        lower = each["balanced_accuracy"] < of_all
        clearly = each["balanced_accuracy_interval"]["high"] < of_all
        assert each["worse"] == ("clearly" if clearly else "lower" if lower else "no")
    thresholds = [point["threshold"] for point in summary["operating_points"]]
    assert [point["threshold"] for point in facts["operating_points"]] == thresholds
    assert requests.get(f"{url}/healthz", timeout=10).json() == {"status": "ok"}


def test_the_page_fetches_its_own_files_alone_and_says_what_it_is_not(url: str) -> None:
    response = requests.get(url, timeout=10)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    reader = Reader(response.text.replace("<!doctype html>", ""))
    own = [path for path in reader.attributes("href") + reader.attributes("src") if path.startswith("/")]
    assert {"/page.js", "/page.css", "/report.css"} <= set(own)
    assert all(requests.get(url + path, timeout=10).ok for path in own)
    assert {path for path in reader.attributes("href") + reader.attributes("src") if path not in own} == {"data:,"}
    for said in ("not a medical device", "What it was trained on", "How good it is", "For whom it is worse"):
        assert said in response.text
    script = requests.get(f"{url}/page.js", timeout=10).text
    assert "http" not in script.replace("https://", "http")


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
    many = _post(url, *[("a.png", content)] * (MAX_IMAGES + 1))
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
    refused = _post(url, ("bomb.png", wide))
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
        busy = _post(url, ("a.png", images[0].read_bytes()))
        assert (busy.status_code, list(busy.json())) == (429, ["detail"])
        assert requests.get(f"{url}/healthz", timeout=10).ok
        for answer in slow:
            assert b" 408 " in answer.result().splitlines()[0]
    assert _post(url, ("a.png", images[0].read_bytes())).ok


def test_requests_that_come_together_share_a_batch(
    run: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = ImageScorer(run)
    sent: list[tuple[int, int | None]] = []
    send = scorer.send
    started, go_on = threading.Event(), threading.Event()

    def watched(given: Any, size: int | None = None) -> Any:
        sent.append((len(given), size))
        started.set()
        go_on.wait(10)
        return send(given, size)

    go_on.set()
    batcher = Batcher(scorer)
    go_on.clear()
    monkeypatch.setattr(scorer, "send", watched)
    image = decode_image(images[0].read_bytes(), scorer.shapes)
    first = batcher.ask(image)
    assert started.wait(10)
    late = [batcher.ask(image) for _ in range(11)]
    assert late.pop().cancel()
    go_on.set()
    answers = [each.result(10).score.probabilities for each in (first, *late)]
    batcher.close()
    assert sent == [(1, 8), (8, 8), (2, 8)]
    np.testing.assert_allclose(answers, np.broadcast_to(answers[0], (11, 7)), atol=1e-6)


def test_batches_are_filled_and_never_padded_but_to_the_smallest() -> None:
    assert batch_sizes(1, 32) == [1, 2, 4, 8, 16, 32]
    assert batch_sizes(8, 20) == [8, 16]
    assert batch_sizes(8, 8) == [8]
    assert [fitting_size([2, 4, 8], waiting) for waiting in (1, 2, 3, 5, 8, 100)] == [2, 2, 2, 4, 8, 8]


def test_a_network_that_fails_is_an_error_of_the_server_without_a_trace_of_it(
    url: str, images: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ImageScorer, "fetch", lambda *_: 1 / 0)
    response = _post(url, ("private.png", images[0].read_bytes()))
    assert response.status_code == 500
    assert list(response.json()) == ["detail"]
    assert "private" not in caplog.text
    monkeypatch.undo()
    assert _post(url, ("a.png", images[0].read_bytes())).ok


def test_the_description_names_every_refusal(url: str) -> None:
    description = requests.get(f"{url}/openapi.json", timeout=10).json()
    responses = description["paths"]["/v1/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "403", "408", "413", "422", "429"}
    for status, each in responses.items():
        expected = "Answered" if status == "200" else "Problem"
        assert each["content"]["application/json"]["schema"]["$ref"].endswith(f"/{expected}")


def test_the_program_serves_until_it_is_told_to_stop(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "from hamjax.commands import main; main()"
    words = [sys.executable, "-c", code, "serve", "--workdir", str(run), "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if line.startswith("serving"))
        url = line.split(" at ")[1].split()[0]
        taken = urlsplit(url).port
        assert requests.get(f"{url}healthz", timeout=10).ok
        assert program.run("serve", "--workdir", run, "--port", str(taken)) == 2
        assert f"--port {taken}" in capfd.readouterr().err
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=30)
    finally:
        server.kill()
        server.communicate()
    assert (server.returncode, said) == (0, "stopped\n")
    assert capfd.readouterr().err == ""


def test_a_run_without_a_report_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("report"))
    assert program.run("serve", "--workdir", workdir) == 2
    assert "expected a finished run" in capsys.readouterr().err


def test_without_its_libraries_the_extra_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert program.run("serve", "--workdir", run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'pip install "hamjax[serve]"' in line


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
