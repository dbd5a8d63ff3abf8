"""What a right step does on a held batch: five losses and the size of every gradient, on a CPU.

    python scripts/bench_accelerator.py --make-reference [--networks cnn resnet50]

The losses are to fall slowly, so that five steps in bfloat16 stay close to five in float32. For the CNN a hundredth of
the recipe's rate does that, and they agree to 1e-3. In the networks with BatchNorm they do not: RMSprop's first steps
are nearly the sign of the gradient times the rate, and at a hundredth ResNet50's loss falls from 2.1 to 0.1 in a single
one; and bfloat16 alone moves InceptionV3's first loss from 2.470 to 2.116, as its weights are rounded and every
BatchNorm magnifies that. So they take smaller steps and have a wider tolerance; and the first loss in bfloat16 is
compared with a CPU's in bfloat16, too, which an H200's is within 0.003 of.

Losses alone cannot tell that one layer gets no gradient: its share of so small a fall is below 1e-3, in every network.
So the root mean square of every kernel's gradient is compared, too, as the optimizer has averaged it: in bfloat16 it is
0.85 to 1.25 times that of float32, without a gradient it is 0.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bench.batch import draw_batch
from bench.ours import Ours
from hamjax.config.recipes import make_config
from hamjax.models.initialization import init_variables
from hamjax.models.registry import create_model
from hamjax.runtime.environment import environment

FILE = Path(__file__).with_name("reference.json")
STEPS = 5
TOLERANCE = {"cnn": 0.02, "resnet50": 0.5, "inceptionv3": 0.5, "densenet201": 0.5}  # of a loss
FIRST_TOLERANCE = 0.02  # of the first loss, from the one in the same dtype
GRADIENT_FACTOR = 1.5
DECAY = {"adam": 0.999, "rmsprop": 0.9}  # of the averages of squares, see hamjax.training.optimizers
SLOWNESS = {"cnn": 1e-2, "resnet50": 1e-5, "inceptionv3": 1e-5, "densenet201": 1e-5}  # of the recipe's rate
MADE_FOR = [("cnn", 32), *((model, 224) for model in SLOWNESS)]  # at batch 16
BATCH_SIZE = 16


class Problem:
    """A batch and the weights to start from, the same on every machine."""

    def __init__(self, model: str, image_size: int, batch_size: int) -> None:
        self.batch = draw_batch(batch_size, image_size)
        self.variables = init_variables(create_model(model), image_size=image_size, seed=0)
        recipe = make_config(model=model, strategy="s1").optimizer
        self.optimizer, self.rate = recipe.name, recipe.learning_rate
        self.tolerance = TOLERANCE[model]
        self.slow_rate = self.rate * SLOWNESS[model]
        self.name = f"{model}_{image_size}px_batch{batch_size}"


def check(problem: Problem, ours: Any, steps: int = STEPS) -> dict[str, Any]:
    """Take the first steps, and compare them with the reference where there is one.

    Returns:
        `losses`, `passed`, and `against`: what was compared.
    """
    losses = ours.losses(steps)
    result: dict[str, Any] = {"losses": losses}
    if not np.isfinite(losses).all():
        return result | {"passed": False, "against": "finite losses"}
    references = json.loads(FILE.read_text())["references"] if FILE.exists() else {}
    if problem.name not in references or steps < STEPS:
        return result | {"passed": True, "against": "finite losses alone"}
    expected = references[problem.name]
    off = float(np.abs(np.subtract(losses, expected["losses"])).max())
    first = expected["first_loss_bfloat16"] if ours.dtype == "bfloat16" else expected["losses"][0]
    first_off = abs(losses[0] - first)
    wrong = _wrong_gradients(gradient_sizes(ours.state, problem.optimizer), expected["gradients"])
    return result | {
        "passed": first_off <= FIRST_TOLERANCE and off <= problem.tolerance and not wrong,
        "against": f"losses within {problem.tolerance:g} of float32's, the first within {FIRST_TOLERANCE:g} of its "
        f"dtype's, gradients within a factor of {GRADIENT_FACTOR:g}",
        "first_off": first_off,
        "off": off,
        "wrong_gradients": wrong,
    }


def gradient_sizes(state: Any, optimizer: str) -> dict[str, float]:
    """Return the root mean square that the optimizer has averaged of each kernel's gradients, by path."""
    # The average starts at 0, so after few steps it is too small, the more so the fewer: five and eight steps (a
    # dispatch of part A) would differ by a quarter without any fault.
    seen = 1 - DECAY[optimizer] ** int(state.step)
    (moments,) = [
        leaf.nu
        for leaf in jax.tree.leaves(state.opt_state, is_leaf=lambda node: hasattr(node, "nu"))
        if hasattr(leaf, "nu")
    ]
    # Biases are left out: before a BatchNorm their gradient is nothing but rounding.
    return {
        name: float(np.sqrt(np.mean(leaf) / seen))
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(moments))
        if (name := jax.tree_util.keystr(path, simple=True, separator="/")).endswith("/kernel")
    }


def make(networks: Sequence[str]) -> None:
    """Compute the references of some networks, and keep them beside those of the others."""
    jax.config.update("jax_platforms", "cpu")
    stored = json.loads(FILE.read_text()) if FILE.exists() else {"references": {}}
    for model, size in MADE_FOR:
        if model not in networks:
            continue
        problem = Problem(model, size, BATCH_SIZE)
        (first,) = _ours(problem, model, "bfloat16").losses(1)
        ours = _ours(problem, model, "float32")
        losses = ours.losses(STEPS)
        sizes = {name: float(f"{value:.4g}") for name, value in gradient_sizes(ours.state, problem.optimizer).items()}
        made_on = {key: value for key, value in environment().items() if key in ("device", "revision", "packages")}
        stored["references"][problem.name] = {
            "losses": losses, "first_loss_bfloat16": first, "gradients": sizes, "environment": made_on,
        }  # fmt: skip
        FILE.write_text(json.dumps(stored, indent=1) + "\n")
        print(f"{problem.name}: {', '.join(f'{loss:.4f}' for loss in losses)}", flush=True)


def _ours(problem: Problem, model: str, dtype: str) -> Ours:
    return Ours(model, problem.variables, problem.batch, optimizer=problem.optimizer, dtype=dtype,
                learning_rate=problem.slow_rate)  # fmt: skip


def _wrong_gradients(found: Mapping[str, float], expected: Mapping[str, float]) -> list[str]:
    return [
        name
        for name, size in expected.items()
        if not size / GRADIENT_FACTOR <= found.get(name, 0.0) <= size * GRADIENT_FACTOR
    ]
