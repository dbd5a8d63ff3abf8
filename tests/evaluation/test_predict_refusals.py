"""`hamjax predict` refuses what it cannot do, and leaves nothing behind."""

from pathlib import Path

import pytest

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
