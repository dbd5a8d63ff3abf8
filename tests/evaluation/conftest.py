"""An external set of drawn images, and two runs to score it with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import hamjax
from hamjax.config import Config
from hamjax.evaluation.scoring import EvalReport
from tests.helpers.external_set import write_images

Labels = list[tuple[str, str]]
Other = tuple[Path, EvalReport]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Labels]:
    folder = tmp_path_factory.mktemp("external")
    return folder, write_images(folder)


@pytest.fixture
def dataless(finished: Path, tmp_path: Path) -> Path:
    """The finished run as it is found where its data never was."""
    workdir = Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("report", "*.jsonl")))
    record = json.loads((workdir / "config.json").read_text())
    record["config"]["data"] |= {"data_dir": str(tmp_path / "gone"), "source_dir": str(tmp_path / "gone")}
    (workdir / "config.json").write_text(json.dumps(record))
    return workdir


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Config]) -> Other:
    """A run of another split and input size, with augmented views; and what its training reported."""
    workdir = tmp_path_factory.mktemp("other") / "run"
    result = hamjax.train(tiny(data__split="fold0", data__image_size=12, eval__tta="d4", train__max_steps=2), workdir)
    assert result is not None
    return workdir, result.report
