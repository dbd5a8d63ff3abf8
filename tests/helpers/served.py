"""A served run that nobody trained, in this process."""

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests
import uvicorn
from PIL import Image

from hamjax.commands.serving.app import make_app
from hamjax.commands.serving.batcher import Batcher
from hamjax.config import make_config
from hamjax.evaluation.image_scorer import ImageScorer
from hamjax.evaluation.unlike import fit_likeness, measure
from hamjax.report.stored import read_evidence
from tests.helpers.report_fixture import full_summary
from tests.helpers.untrained_run import random_variables, varied_images, write_run


def write_reported_run(workdir: Path, *, model: str = "cnn", size: int = 16, **changes: Any) -> None:
    """Write a run of random values with a report that has everything in it, of other predictions than the run's."""
    settings: dict[str, Any] = {"data__image_size": size, "data__name": "synthetic", "model__weights": "random",
                                "eval__batch_size": 2}  # fmt: skip
    config = make_config(model=model, strategy="s1", **(settings | changes))
    write_run(workdir, config, random_variables(config))
    (workdir / "report").mkdir()
    own = {"model": model, "strategy": "s1", "seed": config.train.seed, "data_fingerprint": "0" * 64}
    summary = full_summary() | own | {"checkpoint": {"name": "last", "step": 1}}
    (workdir / "report" / "test.json").write_text(json.dumps(summary))
    looks = measure(varied_images(64, size))
    fit_likeness(looks, np.arange(64) % 7, looks).write(workdir)


@contextlib.contextmanager
def serving(workdir: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve a run on a free port; yields the address of the page, without its last slash."""
    scorer = ImageScorer(workdir)
    batcher = Batcher(scorer)
    app = make_app(scorer, batcher.ask, read_evidence(workdir), host)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http="h11", lifespan="off", log_level="warning", ws="none", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        batcher.close()


def encoded(pixels: np.ndarray, kind: str = "png", **options: Any) -> bytes:
    """Encode an image [H, W, 3] uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def post(url: str, *files: tuple[str, bytes], **options: Any) -> requests.Response:
    """Send files to be predicted."""
    return requests.post(f"{url}/v1/predict", files=[("images", file) for file in files], timeout=60, **options)
