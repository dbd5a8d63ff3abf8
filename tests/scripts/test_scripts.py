"""The scripts do what their pages and the README say."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from bench import print_speed
from bench.print_results import GRIDS, describe_grid, describe_study
from bench.studies import STUDIES
from PIL import Image

from hamjax.data.preparation.images import resize
from tests.helpers import keras_networks, program

ROOT = Path(__file__).parents[2]
Files = Callable[[str], Path]


def _convert(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "convert_weights.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def class_index(tmp_path: Path) -> Path:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({str(i): [f"n{i:08}", f"thing_{i}"] for i in range(1000)}))
    return path


def test_a_picture_gets_keras_five_best_classes(keras_files: Files, tmp_path: Path, class_index: Path) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
    picture.save(tmp_path / "picture.png")
    done = _convert(
        "--model", "resnet50", "--keras-h5", keras_files("resnet50") / "top.h5", "--out", tmp_path / "out.npz",
        "--classify", tmp_path / "picture.png", "--class-index", class_index,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    network = keras_networks.with_top(keras_networks.make_network("resnet50"))
    pixels = resize(picture, 224, "squash")[None].astype(np.float32)
    expected = network.predict(keras.applications.resnet50.preprocess_input(pixels), verbose=0)[0]
    lines = [line.split() for line in done.stdout.splitlines()[-5:]]
    assert [name for _, name in lines] == [f"thing_{i}" for i in np.argsort(-expected)[:5]]
    assert [float(p) for p, _ in lines] == pytest.approx(np.sort(expected)[::-1][:5], abs=1e-3)


@pytest.mark.parametrize(
    ("model", "file", "words", "message"),
    [
        ("resnet50", "nowhere.h5", (), "expected a weights file, got none"),
        pytest.param("densenet201", "top.h5", (), "got those of resnet50", marks=pytest.mark.slow),
        pytest.param("resnet50", "notop.h5", ("--classify", "x.png"), "weights with their top", marks=pytest.mark.slow),
        pytest.param("resnet50", "top.h5", ("--classify", "x.png"), "expected a picture", marks=pytest.mark.slow),
    ],
)
def test_conversion_refuses_with_status_2(
    keras_files: Files, tmp_path: Path, model: str, file: str, words: tuple[str, ...], message: str
) -> None:
    path = keras_files("resnet50") / file
    done = _convert("--model", model, "--keras-h5", path, "--out", tmp_path / "out.npz", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_conversion_to_the_cache_takes_the_official_file_alone(tmp_path: Path) -> None:
    done = _convert("--model", "resnet50", "--keras-h5", tmp_path / "other.h5")
    assert done.returncode == 2
    assert "expected --out beside --keras-h5" in done.stderr


@pytest.fixture(scope="module")
def networks() -> list[str]:
    """What `hamjax networks` prints, block by block."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert program.run("networks") == 0
    return printed.getvalue().rstrip("\n").split("\n\n")


def test_the_page_of_the_networks_shows_them_as_they_are(networks: list[str]) -> None:
    readme = (ROOT / "hamjax" / "models" / "README.md").read_text()
    shown = [block for block in networks if block in readme]
    assert [block.split()[0] for block in shown] == ["CNN", "ResNet50", "all", "The"]


def test_counts_are_the_papers_row_by_row(networks: list[str]) -> None:
    for block in networks[:2]:
        for row in block.splitlines()[1:]:
            *_, ours, paper = row.split()
            assert ours == paper, row


def test_the_page_of_the_tests_shows_the_last_long_torture() -> None:
    page = " ".join((ROOT / "tests" / "README.md").read_text().split())
    found = json.loads((ROOT / "scripts" / "results" / "torture.json").read_text())["results"]
    kills = sum(way["all"] for way in found["kills"].values())
    assert f"runs were killed {kills} times and started {found['starts']} times" in page
    assert f"{found['resumes']} starts resumed from a checkpoint" in page
    assert f"lost {found['lost_steps']['most']} steps at most" in page


def test_the_pages_show_the_speed_that_was_measured() -> None:
    page = (ROOT / "scripts" / "bench" / "README.md").read_text()
    for block in (
        print_speed.describe_input(),
        print_speed.describe_steps(),
        print_speed.describe_epochs(),
        *print_speed.describe_starts().split("\n\n"),
        print_speed.describe_loops(),
        print_speed.describe_accelerators(),
    ):
        assert block in page
    assert print_speed.describe_steps() in (ROOT / "README.md").read_text()


PAGES = [
    "README.md",
    "hamjax/ARCHITECTURE.md",
    *(
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.glob("*/**/README.md"))
        if not {".venv", "build"} & set(path.parts)
    ),
]


@pytest.mark.parametrize("page", [page for page in PAGES if "run_419d696" not in page])
def test_pages_are_short_and_refer_to_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    assert len(text.splitlines()) <= (130 if page == "README.md" else 150)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("study", STUDIES)
def test_the_page_of_results_shows_what_was_measured(study: str) -> None:
    if (path := ROOT / "scripts" / "results" / f"{study}.json").exists():
        page = (ROOT / "hamjax" / "paper" / "README.md").read_text()
        for block in describe_study(json.loads(path.read_text())["results"]).split("\n\n"):
            assert block in page
        assert (ROOT / "hamjax" / "paper" / f"{study}.png").exists()


@pytest.mark.parametrize("grid", GRIDS)
def test_the_page_of_results_shows_the_grids(grid: str) -> None:
    results = json.loads((ROOT / "scripts" / "results" / f"{grid}.json").read_text())["results"]
    assert describe_grid(results) in (ROOT / "hamjax" / "paper" / "README.md").read_text()
    for table in results["protocols"]["paper"]["tables"].values():
        assert table["title"] in (ROOT / "scripts" / "results" / f"{grid}.txt").read_text()
