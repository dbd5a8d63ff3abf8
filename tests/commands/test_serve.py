"""`hamjax serve`: the API, and what stands before it."""

import base64
import io
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image

from hamjax.commands.serving.batcher import Batcher, batch_sizes, fitting_size
from hamjax.data.classes import CLASSES
from hamjax.data.unlabelled import decode_image
from hamjax.evaluation.image_scorer import ImageScorer
from hamjax.evaluation.predict import predict
from hamjax.evaluation.prediction import Predictions
from tests.helpers import program
from tests.helpers.html_reader import Reader
from tests.helpers.report_fixture import full_summary
from tests.helpers.served import post

pytestmark = [
    pytest.mark.usefixtures("quick_compiler"),
    # Starlette forgets the file of a part that never ends; it is in memory alone.
    pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def predicted(run: Path, images: list[Path]) -> Predictions:
    return predict(run, images)


def test_several_images_get_what_predict_says_of_them(url: str, images: list[Path], predicted: Predictions) -> None:
    response = post(url, *((path.name, path.read_bytes()) for path in images))
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
    response = post(url, ("a.png", images[0].read_bytes()), params={"heat_map": "true"})
    (found,) = response.json()["images"]
    kind, content = found["heat_map"].split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as overlay:
        assert (overlay.mode, overlay.size) == ("RGBA", (16, 16))
    assert found["predicted"] in found["heat_map_text"]


def test_what_cannot_be_read_is_listed_beside_the_others(url: str, images: list[Path]) -> None:
    files = [("a.png", images[0].read_bytes()), ("b.jpg", b"no image"), ("home/secret/c.png", images[1].read_bytes())]
    answer = post(url, *files).json()
    assert [each["path"] for each in answer["images"]] == ["a.png", "c.png"]
    assert answer["unreadable"] == [{"path": "b.jpg", "reason": "no JPEG or PNG"}]
    refused = post(url, ("b.jpg", b"no image"))
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
    assert sent == [(1, 4), (4, 4), (4, 4), (2, 4)]
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
    response = post(url, ("private.png", images[0].read_bytes()))
    assert response.status_code == 500
    assert list(response.json()) == ["detail"]
    assert "private" not in caplog.text
    monkeypatch.undo()
    assert post(url, ("a.png", images[0].read_bytes())).ok


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
