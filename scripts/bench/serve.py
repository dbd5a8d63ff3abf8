"""Load `hamjax serve` with many clients, and time it beside `hamjax predict` on the same images.

    python scripts/bench_serve.py --workdir runs/resnet50_s2 --json scripts/results/serve_resnet50_224px.json

Every client sends one image a request, without a heat map, and the next when it has its answer. Server and clients
share the machine. `predict` is timed before and after, warm, in this process; the images are drawn, of mixed sizes.
"""

import argparse
import contextlib
import http.client
import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.measure import table, write_result
from bench.predict import BROKEN, write_images
from hamjax.data.unlabelled import find_images
from hamjax.evaluation.image_scorer import ImageScorer
from hamjax.evaluation.predict import predict_files

BOUNDARY = "a-line-that-is-in-no-image"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
SETTLED = 1 / 6  # of the time, after which the server's memory should not grow


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=Path, help="a finished run")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(args.workdir, Path(folder), args.images, args.clients, args.seconds)
    print(table(["what", "found"], [[name, f"{value:.4g}"] for name, value in results.items()]))
    settings = {"images": args.images, "clients": args.clients, "seconds": args.seconds}
    write_result(args.json, settings, results)


def measure(workdir: Path, folder: Path, count: int, clients: int, seconds: float) -> dict[str, float]:
    """Return what was found: rates in images/s, times in seconds, memory in MB."""
    write_images(folder, count)
    images = [path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.name not in BROKEN]
    before = _predict(workdir, folder)
    with _server(workdir) as (port, process):
        memory = _Memory(process)
        load = _Load(port, images)
        took = load.run(clients, seconds, memory)
    after = _predict(workdir, folder)
    latencies = sorted(load.latencies)
    predicted = (before + after) / 2
    settled = memory.samples[int(SETTLED * len(memory.samples)) :]
    return {
        "answered": len(latencies),
        "errors": len(load.errors),
        "images/s": len(latencies) / took,
        "predict's images/s before": before,
        "predict's images/s after": after,
        "share of predict": len(latencies) / took / predicted,
        "p50 seconds": statistics.median(latencies),
        "p95 seconds": latencies[int(0.95 * len(latencies))],
        "memory when settled, MB": settled[0],
        "memory at the end, MB": settled[-1],
        "memory growth": settled[-1] / settled[0] - 1,
    }


def _predict(workdir: Path, folder: Path) -> float:
    """Return the images/s of `predict`, its program compiled."""
    scorer = ImageScorer(workdir)
    files, _ = find_images([folder])
    files = [file for file in files if Path(file.path).name not in BROKEN]
    predict_files(scorer, files[:1])
    start = time.perf_counter()
    predict_files(scorer, files)
    return len(files) / (time.perf_counter() - start)


@contextlib.contextmanager
def _server(workdir: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    code = "from hamjax.commands import main; main()"
    words = [sys.executable, "-c", code, "serve", "--workdir", str(workdir), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            # It says so when its network is ready.
            line = next((line for line in process.stdout if line.startswith("serving")), "")
            found = re.search(r":(\d+)/ ", line)
            if not found:
                raise AssertionError("the server did not start")
            yield int(found[1]), process
        finally:
            process.terminate()


class _Memory:
    """The resident memory of a process, once a second."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._status = Path(f"/proc/{process.pid}/status")
        self.samples: list[float] = []

    def sample(self) -> None:
        found = re.search(r"VmRSS:\s+(\d+) kB", self._status.read_text())
        assert found
        self.samples.append(int(found[1]) / 1024)


class _Load:
    """Clients, each of which asks again as soon as it is answered."""

    def __init__(self, port: int, images: Sequence[bytes]) -> None:
        self._port = port
        self._bodies = itertools.cycle([_form(image) for image in images])
        self._lock = threading.Lock()
        self.latencies: list[float] = []
        self.errors: list[str] = []

    def run(self, clients: int, seconds: float, memory: _Memory) -> float:
        """Let them ask; return the seconds until the last was answered."""
        start = time.perf_counter()
        threads = [threading.Thread(target=self._ask, args=(start + seconds,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        while time.perf_counter() < start + seconds:
            memory.sample()
            time.sleep(min(1, seconds / 10))
        for thread in threads:
            thread.join()
        memory.sample()
        return time.perf_counter() - start

    def _ask(self, end: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        while (begun := time.perf_counter()) < end:
            with self._lock:
                body = next(self._bodies)
            try:
                connection.request("POST", "/v1/predict", body, HEADERS)
                response = connection.getresponse()
                content = response.read()
                if response.status != 200:
                    self.errors.append(f"{response.status} {content[:200]!r}")
                    continue
            except OSError as error:
                self.errors.append(repr(error))
                connection.close()
                continue
            self.latencies.append(time.perf_counter() - begun)
        connection.close()


def _form(image: bytes) -> bytes:
    head = 'Content-Disposition: form-data; name="images"; filename="image.jpg"\r\nContent-Type: image/jpeg'
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


if __name__ == "__main__":
    main()
