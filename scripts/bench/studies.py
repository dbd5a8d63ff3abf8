"""The studies that `run_study.py` knows: what each run of one differs in, and which runs are compared."""

import dataclasses
from collections.abc import Mapping

BOTH = ("val", "test")
VALIDATION = ("val",)


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs that differ in what is asked.

    Attributes:
        question: that it answers.
        common: arguments of `hamjax train` for every run; `{weights}` stands for the file named on the command line.
        runs: further arguments by the run's name; the first is its config.
        pairs: names of two runs, and the partitions on which they are compared; differences are second minus first.
        probes: scalings of the input for which a linear classifier on the untrained backbone's features is fitted;
            the pretrained runs are compared with the best of them.
    """

    question: str
    common: tuple[str, ...]
    runs: Mapping[str, tuple[str, ...]]
    pairs: Mapping[tuple[str, str], tuple[str, ...]]
    probes: tuple[str, ...] = ()


_GIVEN = "--config.model.weights={weights}"
_NATIVE = "--config.model.input_scale=native"
# The improved recipe's own split is `honest`; two recipes are compared on one.
_PAPER_SPLIT = "--config.data.split=paper"
TRANSFER = Study(
    question="Do weights learned on photographs help on skin lesions, and how are they best used?",
    # As many steps in each: with oversampling's longer epochs S5 would also be trained longer.
    common=("--config.data.image_size=150", "--config.train.epochs=3", "--config.sampling.epoch_size=fixed"),
    runs={
        "native": ("inceptionv3_s1", _GIVEN, _NATIVE),
        "unit": ("inceptionv3_s1", _GIVEN),
        "random": ("inceptionv3_s1", "--config.model.weights=random"),
        "native_frozen1": ("inceptionv3_s1", _GIVEN, _NATIVE, "--config.model.freeze_epochs=1"),
        "native_s5": ("inceptionv3_s5", _GIVEN, _NATIVE),
        "improved": ("inceptionv3_improved", _GIVEN, _PAPER_SPLIT),
    },
    pairs={
        ("random", "native"): BOTH,
        ("random", "unit"): BOTH,
        ("unit", "native"): BOTH,
        ("native", "native_frozen1"): BOTH,
        ("native", "native_s5"): BOTH,
        ("native", "improved"): BOTH,
        ("improved", "native_s5"): BOTH,
        ("random", "improved"): BOTH,
    },
    probes=("unit", "native"),
)

_SHORT = ("--config.data.image_size=64", "--config.train.epochs=6", "--config.data.split=honest")
# What each ingredient of the improved recipe replaces, given back.
_WITHOUT = {
    "adamw_cosine": ("--config.optimizer.name=adam", "--config.optimizer.schedule=plateau"),
    "flips_colour": ("--config.augment.flips=False", "--config.augment.colour=0"),
    "sqrt_weights": ("--config.sampling.weight_rule=balanced",),
    "smoothing": ("--config.loss.label_smoothing=0",),
    "averaging": ("--config.train.ema_decay=0",),
}
INGREDIENTS = Study(
    question="Which ingredients of the improved recipe help the CNN?",
    common=_SHORT,
    runs={
        **{f"paper_seed{seed}": ("cnn_s4", f"--config.train.seed={seed}") for seed in (0, 1)},
        **{f"improved_seed{seed}": ("cnn_improved", f"--config.train.seed={seed}") for seed in (0, 1)},
        **{f"without_{name}_seed0": ("cnn_improved", *words) for name, words in _WITHOUT.items()},
    },
    # Ingredients are judged on validation alone; the test part is looked at once, for the recipe as a whole.
    pairs={
        **{(f"paper_seed{seed}", f"improved_seed{seed}"): BOTH for seed in (0, 1)},
        **{(f"without_{name}_seed0", "improved_seed0"): VALIDATION for name in _WITHOUT},
    },
)
STUDIES = {"transfer": TRANSFER, "ingredients": INGREDIENTS}
