"""What `--config` takes, how a key is set on the command line, and what is refused."""

import contextlib
from pathlib import Path

import pytest

from hamjax.config import KEYS
from hamjax.config.command_line import describe_keys, parse
from hamjax.config.recipes import CONFIGS as NAMED
from hamjax.runtime.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_name_is_taken_as_the_file_of_that_name() -> None:
    by_name, folder = parse(["--config", "densenet_s5", "--config.train.seed=3"])
    by_file, other = parse([f"--config={CONFIGS / 'densenet_s5.py'}", "--config.train.seed", "3"])
    assert (by_name, folder) == (by_file, other)
    assert by_name.train.seed == 3
    assert folder == Path("runs/densenet_s5")


def test_a_file_may_take_an_argument(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from hamjax import make_config\ndef get_config(s): return make_config(model='cnn', strategy=s)")
    config, folder = parse([f"--config={path}:s3"])
    assert (config.sampling.strategy, folder) == ("s3", Path("runs/mine"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "quickstart", "--config.data.imagesize=3"], "data.imagesize: did you mean data.image_size?"),
        (["--config", "quickstart", "--config.image_size", "3"], "image_size: did you mean data.image_size?"),
        (["--config", "quickstart", "--noconfig.augment.enable"], "augment.enable: did you mean augment.enabled?"),
        (["--config", "quickstart", "--workdri=x"], "workdir"),
        (["--config", "densnet_s5"], "did you mean densenet_s5?"),
        (["--config", "configs/densenet_5.py"], "did you mean densenet_s5?"),
        (["--config", "quickstart", "--config.model.name=resnet5"], "did you mean resnet50?"),
        (["--config", "quickstart", "--config.optimizer.schedule=plato"], "did you mean plateau?"),
    ],
)
def test_a_misspelled_word_is_answered_with_the_nearest(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as raised:
        parse(words)
    assert message in str(raised.value)


def test_values_without_effect_are_let_pass_for_a_run_that_began_with_them(tmp_path: Path) -> None:
    words = ["--config", "cnn_s1", "--config.optimizer.learning_rate=1e-6", "--workdir", str(tmp_path)]
    with pytest.raises(UserError, match="min_learning_rate"):
        parse(words)
    (tmp_path / "config.json").write_text("{}")
    assert parse(words)[0].optimizer.learning_rate == 1e-6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        ("def get_config(): return {}", "expected get_config() to return a hamjax Config, got dict"),
        ("x = ", "SyntaxError"),
        ("", "get_config"),
    ],
)
def test_a_file_that_gives_no_config_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        parse(["--config", str(path)])
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_help_names_every_key_with_its_default_and_choices() -> None:
    text = " ".join(describe_keys().split())
    for name, key in KEYS.items():
        assert f"--config.{name}=" in text
        assert key.meaning in text
        assert not key.choices or f"({' | '.join(key.choices)}" in text
    assert "--config.data.image_size=224 side of the square images in pixels (at least 4, below 4,096)" in text
    assert all(name in text for name in NAMED)


@pytest.mark.parametrize(
    "code",
    ["__import__('os').system('touch X')", "(__import__('os').system('touch X'),)", "[open('X','w') for _ in (1,)]"],
)
def test_values_on_the_command_line_are_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.chdir(tmp_path)
    for key in KEYS:
        with contextlib.suppress(UserError):  # some keys take any text
            config, _ = parse(["--config", str(CONFIGS / "cnn_s1.py"), f"--config.{key}={code}"])
            topic, name = key.split(".")
            assert getattr(getattr(config, topic), name) == code
    assert list(tmp_path.iterdir()) == []
