"""A run with every option on is resumed as any other."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import hamjax
from hamjax.config import Config
from hamjax.runtime.errors import PreemptedError
from hamjax.training.run_directory.metrics_log import read_records
from tests.helpers.started import sigterm_at

pytestmark = pytest.mark.usefixtures("quick_compiler")


def _everything(tiny: Callable[..., Config]) -> Config:
    return tiny(
        loss__name="logit_adjusted", loss__label_smoothing=0.1, optimizer__name="adamw", optimizer__schedule="cosine",
        augment__flips=True, augment__colour=0.2, augment__mix="mixup", sampling__weight_rule="sqrt",
        optimizer__warmup_epochs=0.2, train__ema_decay=0.9, train__max_steps=12, train__log_every_steps=2,
        train__steps_per_dispatch=2,
    )  # fmt: skip


def test_a_run_with_every_option_goes_on_as_if_it_had_not_been_stopped(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    undisturbed = hamjax.train(_everything(tiny), tmp_path / "undisturbed")
    with pytest.raises(PreemptedError, match="step 6 of 12"):
        hamjax.train(_everything(tiny), tmp_path / "run", on_dispatch=sigterm_at(6))
    resumed = hamjax.train(_everything(tiny), tmp_path / "run")
    assert undisturbed is not None
    assert resumed is not None
    jax.tree.map(np.testing.assert_array_equal, resumed.state, undisturbed.state)
    assert resumed.report.summary_json() == undisturbed.report.summary_json()
    assert hamjax.evaluate(tmp_path / "run").summary["loss"] == undisturbed.report.summary["loss"]  # of the averages
    records = [read_records(tmp_path / name / "metrics.jsonl") for name in ("undisturbed", "run")]
    rates, again = ([line["train/learning_rate"] for line in lines if "train/loss" in line] for lines in records)
    assert rates == again
    assert rates[0] < max(rates) > rates[-1]
    averaged, latest = undisturbed.state.eval_variables["params"], undisturbed.state.params
    assert not np.array_equal(averaged["predictions"]["kernel"], latest["predictions"]["kernel"])
