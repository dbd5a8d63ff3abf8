"""What a run does where its config leaves the choice to the program."""

import dataclasses
from typing import Any

import jax

from hamjax.config import Config
from hamjax.data.preparation.images import usable_cores
from hamjax.models.registry import MODEL_SPECS
from hamjax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolved:
    """The values that a run works with, on the devices at hand; made once, by `resolve`.

    Attributes:
        model: the network, for which the compiler has options of its own.
        compute_dtype: dtype of activations.
        input_scale: of the pixels; see `scale_images`.
        checkpoint: what the report is on, `last` or `best`.
        steps_per_dispatch: steps per call of the compiled program, at most.
        num_threads: threads that read ahead, in this process.
        eval_batch_size: images per call of inference over all devices, each view counted.
        device: kind of the devices.
        devices: number of them, over all processes.
        processes: number of them.
    """

    model: str
    compute_dtype: str
    input_scale: str
    checkpoint: str
    steps_per_dispatch: int
    num_threads: int
    eval_batch_size: int
    device: str
    devices: int
    processes: int

    def record(self, weights: dict[str, str] | None) -> dict[str, Any]:
        """Return the block `resolved` of `config.json`; see `hamjax.training.run_directory.record`.

        Args:
            weights: `origin` and `sha256` of what the run begins from; None if it resumes from a checkpoint.
        """
        start = dataclasses.asdict(self)
        del start["model"]  # the config has it
        settled = {name: start.pop(name) for name in ("compute_dtype", "input_scale", "checkpoint")}
        return settled | ({} if weights is None else {"weights": weights}) | {"starts": [start]}


def resolve(config: Config) -> Resolved:
    """Choose what a config leaves open. JAX looks for devices here, if it has not before.

    Raises:
        UserError: float64 is asked for, and JAX would take float32 in its place.
    """
    # JAX can be switched to 64 bits only for a whole process, and before its first array.
    if config.model.compute_dtype == "float64" and not jax.config.values["jax_enable_x64"]:
        raise UserError(
            "model.compute_dtype=float64: expected a JAX that computes in 64 bits, got one that takes float32 in its "
            "place; set JAX_ENABLE_X64=1 in the environment of the command."
        )
    on_cpu = jax.default_backend() == "cpu"
    return Resolved(
        model=config.model.name,
        # bfloat16 where there is hardware for it.
        compute_dtype=_unless_auto(config.model.compute_dtype, "float32" if on_cpu else "bfloat16"),
        input_scale=MODEL_SPECS[config.model.name].native_scale if config.model.input_scale == "native" else "unit",
        # The paper reports the last epoch, everyone else the best.
        checkpoint=_unless_auto(config.eval.checkpoint, "last" if config.data.split == "paper" else "best"),
        # Several steps at once where dispatch, not arithmetic, is the limit.
        steps_per_dispatch=config.train.steps_per_dispatch or (1 if on_cpu else 8),
        num_threads=min(usable_cores(), 16) if config.data.num_threads == -1 else config.data.num_threads,
        # Inference keeps no activations for a gradient, so an accelerator has room for more than a step trains on.
        eval_batch_size=config.eval.batch_size or (64 if on_cpu else 256),
        device=jax.devices()[0].device_kind,
        devices=jax.device_count(),
        processes=jax.process_count(),
    )


def starting_weights(config: Config) -> str:
    """Return what a run starts from: `imagenet`, `random`, or a file."""
    return _unless_auto(config.model.weights, "imagenet" if MODEL_SPECS[config.model.name].pretrained else "random")


def _unless_auto(asked: str, automatic: str) -> str:
    return automatic if asked == "auto" else asked
