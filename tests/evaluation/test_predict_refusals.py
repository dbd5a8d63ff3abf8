"""`hamjax predict` refuses what it cannot do, and leaves nothing behind; what it leaves out, it names."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers import program


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gone.jpg",), "gone.jpg: expected an image, a folder or a zip archive, got nothing"),
        (("text.jpg",), "expected images that can be read, got none: "),
        (("text.jpg", "--order", "fear"), "invalid choice: 'fear'"),
        (("text.jpg", "--gallery", "-1"), "--gallery: invalid"),
    ],
)
def test_the_command_refuses_with_status_2(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    (tmp_path / "text.jpg").write_text("no image")
    monkeypatch.chdir(tmp_path)
    assert program.run("predict", "--workdir", finished, "--out", "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("report", "words", "reason"),
    [
        ("whole", (), ""),
        ("whole", ("--tta",), "its report is on other views: without --tta"),
        ("cut", (), "its report/test.json is missing or damaged; `hamjax train`, started again, writes it"),
        ("of another checkpoint", (), "its report is on another checkpoint"),
    ],
)
def test_what_a_report_has_nothing_for_is_left_out_with_the_reason(
    unreported: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    report: str, words: tuple[str, ...], reason: str,
) -> None:  # fmt: skip
    summary = json.loads((finished / "report" / "test.json").read_text())
    if report == "of another checkpoint":
        summary["checkpoint"]["step"] -= 1
    text = json.dumps(summary)
    (unreported / "report").mkdir()
    (unreported / "report" / "test.json").write_text(text[: len(text) // 2] if report == "cut" else text)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    assert program.run("predict", "--workdir", unreported, "--out", out, tmp_path / "a.png", *words) == 0
    said = "no calibrated probabilities, operating points or prediction sets: "
    printed = capsys.readouterr().out
    assert (said + reason in printed) if reason else (said not in printed)
    assert ("calibrated_mel" in (out / "predictions.csv").read_text()) == (not reason)
    if reason:
        assert f"Probabilities are not calibrated: {reason}." in (out / "index.html").read_text()
