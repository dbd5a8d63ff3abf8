"""What a run says before its first step."""

import dataclasses
from collections.abc import Callable

from hamjax.commands.start import describe_start
from hamjax.config import Config
from hamjax.data.classes import CLASSES
from hamjax.data.splits import TEST, TRAIN, VAL
from hamjax.training.setup.experiment import build_experiment


def test_a_class_that_is_tested_and_not_trained_on_is_said(tiny: Callable[..., Config]) -> None:
    experiment = build_experiment(tiny())
    assert "warning" not in describe_start(experiment)
    split, label = experiment.plan.split.copy(), experiment.dataset.metadata.label
    for dx in ("bcc", "nv"):
        split[(split == TRAIN) & (label == CLASSES.index(dx))] = VAL
    for dx in ("bcc", "nv", "bkl"):
        assert (label[split == TEST] == CLASSES.index(dx)).any()
    said = describe_start(dataclasses.replace(experiment, plan=dataclasses.replace(experiment.plan, split=split)))
    assert "\nwarning: no training image is bcc or nv, but test images are: all of them will be wrong\n" in said
