"""Paths as users give them: the home folder, names that libraries take for patterns, bytes that are no text."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from hamjax.commands import training_run
from hamjax.config import Config
from hamjax.config.validation import with_user_paths
from hamjax.data.external import read_external
from hamjax.data.sources.folder import LocalSource
from hamjax.evaluation.evaluate import evaluate_run
from hamjax.runtime.errors import UserError
from hamjax.runtime.paths import as_text, plain_path, user_path
from hamjax.training.run_directory.checkpoints import Checkpoints
from tests.helpers import program
from tests.helpers.external_set import write_images, write_labels

LATIN = os.fsdecode(b"caf\xe9")
ODD = ("run[1]", "r[!a]*", "r?", "a\\b", "{a,b}", "~", "a b", "r**", "#%41;&'")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert user_path("~/runs/a") == tmp_path / "runs" / "a"
    assert user_path("a~b/~") == Path("a~b/~")
    config = Config()
    config.data.data_dir, config.data.source_dir, config.model.weights = "~/data", "", "./w.npz"
    located = with_user_paths(config)
    assert located.data.data_dir == str(tmp_path / "data")
    assert (located.data.source_dir, located.model.weights) == ("", "./w.npz")
    assert located.runtime.compilation_cache == "auto"
    assert config.data.data_dir == "~/data"


def test_a_path_that_is_no_text_is_refused_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in (tmp_path / LATIN, tmp_path / LATIN / "below", LATIN):
        with pytest.raises(UserError, match="caf\N{REPLACEMENT CHARACTER}.*expected a path in UTF-8") as caught:
            user_path(path)
        str(caught.value).encode()
    (tmp_path / LATIN).mkdir()
    monkeypatch.chdir(tmp_path / LATIN)
    with pytest.raises(UserError, match="expected a path in UTF-8"):
        user_path("runs")
    assert as_text(tmp_path / LATIN).endswith("caf\N{REPLACEMENT CHARACTER}")


COMMANDS = (
    ("train", "--config", "quickstart", "--workdir", LATIN),
    ("train", "--config", LATIN, "--workdir", "w"),
    ("train", "--config", "quickstart", "--workdir", "w", f"--config.data.data_dir={LATIN}"),
    ("train", "--config", "cnn_s1", "--workdir", "w", f"--config.data.source_dir={LATIN}"),
    ("train", "--config", "resnet50_s1", "--workdir", "w", f"--config.model.weights={LATIN}"),
    ("train", "--config", "quickstart", "--workdir", "w", f"--config.runtime.compilation_cache={LATIN}"),
    ("check", "--config", "quickstart", "--workdir", LATIN),
    ("prepare", "--source", LATIN, "--data-dir", "d"),
    ("prepare", "--source", "s", "--data-dir", LATIN),
    ("evaluate", "--workdir", LATIN, "--out", "o"),
    ("evaluate", "--workdir", "w", "--out", LATIN),
    ("evaluate", "--workdir", "w", "--out", "o", "--images", LATIN, "--labels", "l.csv"),
    ("evaluate", "--workdir", "w", "--out", "o", "--images", "i", "--labels", LATIN),
    ("compare", LATIN, "w"),
    ("compare", "w", "w", "--json", LATIN),
    ("reproduce", "--workdir", LATIN, "--dry-run"),
    ("weights", "--model", "resnet50", "--keras-h5", LATIN, "--out", "o.npz"),
    ("weights", "--model", "resnet50", "--keras-h5", "k.h5", "--out", LATIN),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: "-".join(words[:1]))
def test_every_command_refuses_such_a_path_before_any_work(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.run(*words) == 2
    assert "expected a path in UTF-8" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_files_of_an_external_set_may_have_any_name(tmp_path: Path) -> None:
    labels = write_images(tmp_path / LATIN / "[x]*")
    shutil.copy(next(tmp_path.rglob("EXT_000.*")), tmp_path / f"{LATIN}.jpg")
    external = read_external(tmp_path, write_labels(tmp_path / "labels.csv", "pairs", labels[:9]))
    assert external.facts["scored"] == 9
    assert "caf\N{REPLACEMENT CHARACTER}.jpg" in external.facts["unlabelled"]
    "".join(external.facts["unlabelled"]).encode()


def test_files_of_a_source_may_have_any_name(copy: Path) -> None:
    (copy / "HAM10000_metadata.csv").rename(copy / f"HAM10000_metadata {LATIN}.csv")
    (copy / LATIN).mkdir()
    moved, other, *_ = sorted(copy.glob("*.jpg"))
    moved.rename(copy / LATIN / moved.name)
    shutil.copy(other, copy / LATIN / f"{LATIN}.jpg")
    with zipfile.ZipFile(copy / f"{LATIN}.zip", "w") as archive:
        archive.write(other, "new.jpg")
    source = LocalSource(copy)
    assert source.missing() == []
    assert source.read(moved.stem)
    places = [source.tables[0]["place"], *source.unclaimed()]
    assert len(places) == 3
    "".join(places).encode()


@pytest.mark.parametrize("name", ODD)
def test_checkpoints_are_written_and_read_below_any_name(tmp_path: Path, name: str) -> None:
    folder, state = tmp_path / name / "checkpoints", {"a": np.arange(3.0), "b": {"c": np.ones((2, 2), np.float32)}}
    (tmp_path / "run1" / "checkpoints" / "last").mkdir(parents=True)  # what [1] as a pattern would find
    with Checkpoints(folder, {"run": 1}) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state, {"best": {"step": step}}, step=step)
        checkpoints.mark_best(2)
    with Checkpoints(folder, {"run": 1}, read_only=True) as checkpoints:
        assert checkpoints.steps("last") == [1, 2]
        found, _ = checkpoints.restore("best", 2, state)
        np.testing.assert_array_equal(found["a"], state["a"])
        np.testing.assert_array_equal(checkpoints.restore_part("last", 1, {"b": state["b"]})["b"]["c"], 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({name, "run1"})


def test_a_plain_path_is_itself() -> None:
    assert plain_path(Path("/a/{b} ~/c")) == Path("/a/{b} ~/c")


def test_a_run_lives_below_odd_names(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home[1]"))
    config = tiny(data__data_dir="~/{a,b} *", train__epochs=1)
    result = training_run.train(config, "~/run[1]")
    assert result is not None
    workdir = tmp_path / "home[1]" / "run[1]"
    assert sorted(path.name for path in (tmp_path / "home[1]").iterdir()) == ["run[1]", "{a,b} *"]
    assert evaluate_run(workdir)[0].summary == result.report.summary
    assert evaluate_run("~/run[1]")[0].summary == result.report.summary


def test_a_finished_run_is_shown_where_nothing_can_be_written(
    finished: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("hamjax.runtime.files.FileLock", refuse)
    assert training_run.train(tiny(), finished) is None
    assert "balanced accuracy" in capsys.readouterr().out
