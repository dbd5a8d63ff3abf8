"""The configs on disk are the grid, and bad values are refused by key."""

import ast
import itertools
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hamjax.config import KEYS, Config, make_config, validate
from hamjax.config.command_line import read_config
from hamjax.config.recipes import CONFIGS as NAMED
from hamjax.config.recipes import IMPROVED, MODELS, named_config
from hamjax.data.sampling import STRATEGIES
from hamjax.data.splits import SPLITS
from hamjax.evaluation.averaging import VIEWS
from hamjax.models.head import HEADS
from hamjax.models.registry import MODEL_SPECS
from hamjax.runtime.errors import UserError
from hamjax.training.losses import LOSSES
from hamjax.training.mixing import MIXES
from hamjax.training.optimizers import OPTIMIZERS
from hamjax.training.schedules import SCHEDULES
from hamjax.training.setup.network import require_fitting
from hamjax.training.setup.resolved import starting_weights

CONFIGS = Path(__file__).parents[2] / "configs"
FILE_NAMES = {"cnn": "cnn", "resnet50": "resnet50", "inceptionv3": "inceptionv3", "densenet201": "densenet"}


def _load(path: Path) -> Config:
    return read_config(str(path))


# Where the program looks a choice up. Config repeats the names, so that it can be read without jax.
REGISTRIES: dict[str, Iterable[str]] = {
    "data.split": SPLITS,
    "sampling.strategy": STRATEGIES,
    "augment.mix": ["none", *MIXES],
    "model.name": MODEL_SPECS,
    "model.head": [head for head in HEADS if head != "imagenet"],  # that one has ImageNet's classes
    "loss.name": LOSSES,
    "optimizer.name": OPTIMIZERS,
    "optimizer.schedule": SCHEDULES,
    "eval.tta": VIEWS,
}


@pytest.mark.parametrize("key", REGISTRIES)
def test_the_choices_of_a_key_are_what_there_is(key: str) -> None:
    assert set(KEYS[key].choices) == set(REGISTRIES[key])


def test_every_key_has_a_meaning_and_a_default_within_its_bounds() -> None:
    validate(Config())
    for name, key in KEYS.items():
        assert key.meaning, name
        assert key.least is None or key.type in (int, float), name


def test_config_loads_no_more_than_the_standard_library() -> None:
    code = (
        "import sys, hamjax.config; print({name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before = subprocess.run([sys.executable, "-c", code.replace(", hamjax.config", "")], capture_output=True, text=True)
    assert ast.literal_eval(done.stdout) - ast.literal_eval(before.stdout) == {"hamjax"}


def test_names_and_files_are_the_same_configs() -> None:
    assert {path.stem for path in CONFIGS.glob("*.py")} == set(NAMED)
    for name in NAMED:
        assert named_config(name) == _load(CONFIGS / f"{name}.py"), name


def test_files_are_the_product_of_models_and_strategies() -> None:
    cells = {f"{FILE_NAMES[m]}_s{s}" for m, s in itertools.product(MODELS, range(1, 6))}
    assert len(cells) == 20
    assert {path.stem for path in CONFIGS.glob("*.py")} == cells | {
        f"{name}_improved" for name in FILE_NAMES.values()
    } | {"quickstart"}


@pytest.mark.parametrize(("model", "strategy"), list(itertools.product(MODELS, range(1, 6))))
def test_a_file_is_its_cell(model: str, strategy: int) -> None:
    path = CONFIGS / f"{FILE_NAMES[model]}_s{strategy}.py"
    config = _load(path)
    assert config == make_config(model=model, strategy=f"s{strategy}")
    assert f"--config configs/{path.name}" in path.read_text()
    first = make_config(model=model, strategy="s1").to_dict()
    first["sampling"]["strategy"] = f"s{strategy}"
    assert config.to_dict() == first


def test_recipes_are_the_papers() -> None:
    for model in MODELS:
        config = make_config(model=model, strategy="s5")
        epochs, optimizer, weights = (50, "adam", "random") if model == "cnn" else (30, "rmsprop", "imagenet")
        assert (config.train.epochs, config.optimizer.name, starting_weights(config)) == (epochs, optimizer, weights)
        assert config.model.weights == Config().model.weights == "auto"
        assert (config.train.global_batch_size, config.data.image_size, config.data.split) == (16, 224, "paper")


PAPERS_KEYS = {  # the values of every option that the paper does not use
    "augment": {"flips": False, "colour": 0, "mix": "none"},
    "loss": {"name": "cross_entropy", "label_smoothing": 0},
    "train": {"ema_decay": 0},
}


@pytest.mark.parametrize("model", MODELS)
def test_the_papers_recipes_use_none_of_the_options_and_the_improved_ones_do(model: str) -> None:
    paper = make_config(model=model, strategy="s4").to_dict()
    for topic, keys in PAPERS_KEYS.items():
        assert {key: paper[topic][key] for key in keys} == keys
    assert paper["optimizer"]["schedule"] == "plateau"
    path = CONFIGS / f"{FILE_NAMES[model]}_improved.py"
    improved = _load(path)
    assert improved == make_config(model=model, strategy="s4", recipe="improved")
    assert f"--config configs/{path.name}" in path.read_text()
    require_fitting(improved)
    theirs = improved.to_dict()
    differing = {f"{t}.{k}" for t in paper for k in paper[t] if paper[t][k] != theirs[t][k]}
    expected = set(IMPROVED) | ({"model.input_scale"} if model != "cnn" else set())
    assert differing == expected | ({"data.image_size"} if model == "inceptionv3" else set())


def test_a_config_survives_being_written_down() -> None:
    config = make_config(model="cnn", strategy="s4", sampling__given_weights=(1.0,) * 7)
    assert Config.from_dict(config.to_dict()) == config


def test_where_files_lie_and_how_a_run_is_executed_change_no_result() -> None:
    def result_keys(**changes: Any) -> dict[str, Any]:
        return make_config(model="cnn", strategy="s1", **changes).result_keys()

    executed = {"train__profile_steps": 3, "train__steps_per_dispatch": 2, "train__checkpoint_every_minutes": 1.0,
                "train__checkpoint_every_steps": 7, "runtime__distributed": "off", "runtime__join_seconds": 7,
                "runtime__compilation_cache": "off", "runtime__preempt_exit_code": 99}  # fmt: skip
    files = {"data__source_dir": "x", "data__data_dir": "y", "data__num_threads": 1}
    assert result_keys(**executed, **files) == result_keys()
    assert result_keys(train__seed=1) != result_keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [("data__split", "random"), ("data__image_size", 0), ("train__epochs", 0), ("optimizer__name", "sgd"),
     ("optimizer__learning_rate", float("nan")), ("sampling__weight_rule", "given"), ("data__nonsense", 1),
     ("loss__name", "hinge"), ("train__ema_decay", 1.0), ("loss__label_smoothing", -0.1), ("augment__mix", "blend"),
     ("augment__colour", 1), ("sampling__effective_beta", 1), ("sampling__effective_beta", -0.1),
     ("augment__zoom", 1.5), ("augment__zoom", -0.1), ("augment__shift", -3), ("augment__shift", 1),
     ("augment__degrees", 181), ("augment__degrees", -1), ("augment__mix_alpha", 1e300), ("loss__gamma", 1e9),
     ("loss__tau", 1e9),
     ("optimizer__factor", 4), ("optimizer__factor", -1), ("optimizer__min_delta", -1), ("optimizer__min_delta", 1),
     ("runtime__join_seconds", 2**31 - 1)],
)  # fmt: skip
def test_bad_values_are_refused_by_key(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=key.replace("__", ".").replace("weight_rule", "given_weights")):
        make_config(model="cnn", strategy="s1", **{key: value})


@pytest.mark.parametrize(("model", "strategy"), [("vgg", "s1"), ("cnn", "s6")])
def test_unknown_cells_are_refused(model: str, strategy: str) -> None:
    with pytest.raises(UserError, match="expected one of"):
        make_config(model=model, strategy=strategy)
    with pytest.raises(UserError, match="recipe: expected one of paper, improved, got 'best'"):
        make_config(model="cnn", strategy="s1", recipe="best")


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(UserError, match="warmup_epochs: expected less than train.epochs=3, got 3"):
        make_config(
            model="cnn", strategy="s1", optimizer__schedule="cosine", train__epochs=3, optimizer__warmup_epochs=3
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment__enabled": False, "augment__mix": "mixup"}, "augment.mix: expected none, since augment.enabled"),
        ({"train__epochs": 3, "model__freeze_epochs": 3},
         "model.freeze_epochs: expected less than train.epochs=3, got 3; to train the head alone"),
        ({"optimizer__schedule": "cosine", "optimizer__min_learning_rate": 1e-3},
         "min_learning_rate: expected at most optimizer.learning_rate=0.0001"),
        ({"optimizer__learning_rate": 1e-6}, "min_learning_rate: .*schedule=plateau falls to it, got 1e-05; to keep"),
        ({"optimizer__learning_rate": 1e-6, "optimizer__schedule": "step3"}, "min_learning_rate: .*schedule=step3"),
        ({"optimizer__name": "adamw", "optimizer__weight_decay": 1e4}, "weight_decay: expected less than 1 / "),
        ({"sampling__weight_rule": "given", "sampling__given_weights": (1e30,) * 7}, "given_weights: expected seven"),
    ],
)  # fmt: skip
def test_values_that_a_run_would_silently_leave_out_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_config(model="resnet50", strategy="s1", **changes)


def test_a_run_of_an_earlier_version_may_hold_values_without_effect() -> None:
    config = make_config(model="resnet50", strategy="s1", train__epochs=3)
    config.model.freeze_epochs = 3
    validate(config, began=True)


@pytest.mark.parametrize("name", [name for name, known in KEYS.items() if known.type in (int, float)])
def test_every_number_has_a_bound_and_keeps_to_it(name: str) -> None:
    known = KEYS[name]
    assert known.least is not None, "a number that may be anything is one that nobody looked at"
    beyond = [known.least - 1] + [bound for bound in (known.below, known.most and known.most + 1) if bound is not None]
    for value in beyond:
        with pytest.raises(UserError, match=f"{name}: expected"):
            make_config(model="cnn", strategy="s1", **{name.replace(".", "__"): known.type(value)})


def test_all_wrong_keys_are_named_at_once() -> None:
    config = make_config(model="cnn", strategy="s1")
    config.data.split, config.train.epochs = "random", -1
    with pytest.raises(UserError, match=r"(?s)data.split.*train.epochs"):
        validate(config)
