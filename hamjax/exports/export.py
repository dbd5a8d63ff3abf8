"""Write a run's network in the format of another program, and let that program say at once that it is the same."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hamjax.data.preparation.images import decode, resize
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.exports import keras_format, onnx_format, safetensors_format, stablehlo_format
from hamjax.exports.network import TrainedNetwork, load_network
from hamjax.runtime.errors import UserError, expected_one_of
from hamjax.runtime.files import replacing
from hamjax.runtime.paths import user_path
from hamjax.runtime.say import Say

IMAGES = 4  # each of another class, mostly; more would only take time
# Of probabilities. Other programs add up in another order, which moves them by 1e-6 at most; a wrong layer by 1e-2.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Format:
    """A format: how a network is written, and how the program that it is for runs what was written.

    Attributes:
        write: takes the network and the path.
        run: takes the path, images [N, S, S, 3] uint8 and the network, which it uses for shapes alone; returns
            probabilities [N, 7].
        endings: how the name of a file may end; empty: as one likes.
    """

    write: Callable[[TrainedNetwork, Path], None]
    run: Callable[[Path, np.ndarray, TrainedNetwork], np.ndarray]
    endings: tuple[str, ...] = ()


FORMATS = {
    "onnx": Format(onnx_format.write, onnx_format.run),
    "stablehlo": Format(stablehlo_format.write, stablehlo_format.run),
    "keras": Format(keras_format.write, keras_format.run, keras_format.ENDINGS),
    "safetensors": Format(safetensors_format.write, safetensors_format.run),
}


def export(
    workdir: str | Path, out: str | Path, *, format: str, checkpoint: str | None = None, say: Say = print
) -> Path:
    """Write a run's network in the format of another program; the data of the run is not needed.

    The written file is run by that program on drawn images and compared with the run. It is there whole or not at all.

    Args:
        workdir: the run directory.
        out: the file; for Keras it ends in `.keras` or `.weights.h5`.
        format: a key of `FORMATS`.
        checkpoint: `last`, `best` or a step; by default what training reports.
        say: takes a line for the user.

    Returns:
        The path of the file.

    Raises:
        UserError: there is no such run, checkpoint or format; a library is missing; the file cannot be written; its
            probabilities are not those of the run.
    """
    if format not in FORMATS:
        raise UserError(expected_one_of("--format", FORMATS, format))
    chosen, path = FORMATS[format], user_path(out)
    if chosen.endings and not path.name.endswith(chosen.endings):
        raise UserError(
            f"{path}: expected a name that ends in {' or '.join(chosen.endings)} for --format {format}; change --out."
        )
    # On a CPU: there, float32 is computed as such. A GPU multiplies it with fewer digits.
    with jax.default_device(_cpu()):
        network = load_network(workdir, checkpoint)
        with replacing(path) as part:
            chosen.write(network, part)
            difference = _compare(chosen, part, network)
            # A NaN is not below it either.
            if not difference <= TOLERANCE:
                raise UserError(
                    f"{path}: expected the probabilities of the run to {TOLERANCE:g}, got a difference of "
                    f"{difference:.2g}; nothing was written. Take another format, or another version of its library."
                )
    found = network.facts["checkpoint"]
    say(
        f"{path}: {network.config.model.name}, checkpoint {found['name']} of step {found['step']}, as {format}; its "
        f"probabilities differ from the run's by {difference:.1g} at most on {IMAGES} drawn images"
    )
    return path


def _compare(chosen: Format, path: Path, network: TrainedNetwork) -> float:
    """Return the largest difference between probabilities of the file and of the run."""
    source = SyntheticSource(IMAGES)
    pictures = [decode(source.read(image_id)) for image_id in source.metadata.image_id.tolist()]
    images = np.stack([resize(picture, network.image_size, "squash") for picture in pictures])
    found = np.asarray(chosen.run(path, images, network))
    expected = network.probabilities(images)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


def _cpu() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise UserError(
            "JAX_PLATFORMS: expected the CPU among JAX's devices, got none; leave it unset, or add cpu to it."
        ) from error
