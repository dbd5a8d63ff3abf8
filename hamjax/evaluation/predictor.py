"""The predictions of a network for a set of images: one pass, every image once."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.pipeline import EvalSource, batches
from hamjax.evaluation.averaging import VIEWS
from hamjax.evaluation.eval_step import make_eval_step
from hamjax.evaluation.gradcam import grad_cam
from hamjax.models.initialization import Variables
from hamjax.models.preprocessing import scale_images
from hamjax.runtime.compiler import compiler_options
from hamjax.runtime.devices import local_copy, prefetch, put_batch, replicated, split_batch
from hamjax.training.setup.experiment import own_share
from hamjax.training.setup.resolved import Resolved

# One is computed while the logits of the other are fetched; more would only take memory.
IN_FLIGHT = 2
# Logits and mask of a batch that was sent, on the devices.
Sent = tuple[jax.Array, jax.Array]


class Predictor:
    """Inference of a run's network, compiled once.

    Args:
        resolved: what the run's config comes to on these devices.
        model: from `make_network`.
        mesh: of the devices.
        tta: see `hamjax.evaluation.averaging.views`.

    Attributes:
        batch_size: images a call, over all devices.
    """

    def __init__(self, resolved: Resolved, model: Any, mesh: Mesh, tta: str = "none") -> None:
        self.tta = tta
        self._resolved, self._model, self._mesh = resolved, model, mesh
        self._eval_step = make_eval_step(
            model, resolved.input_scale, tta, compiler_options=compiler_options(resolved.model)
        )
        self._gather = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))
        # Rounded up to what the devices can share; padding is masked, so nothing changes.
        self.batch_size = -(-resolved.eval_batch_size // (VIEWS[tta] * mesh.size)) * mesh.size

    def with_tta(self, tta: str) -> "Predictor":
        """Return the inference that sees images in these views."""
        return self if tta == self.tta else Predictor(self._resolved, self._model, self._mesh, tta)

    def __call__(
        self, variables: Variables, dataset: Dataset, rows: np.ndarray, should_stop: Callable[[], bool] = lambda: False
    ) -> np.ndarray | None:
        """Return the logits of some rows, [N, K], in their order.

        Each process reads its share of every batch and gets all logits. The last batch is padded, and the
        padding cut off by its mask. A batch is sent before the logits of the one before are fetched.

        Args:
            variables: `params` and `batch_stats`, on every device.
            dataset: prepared images.
            rows: [N] indices into it.
            should_stop: asked before every batch; if it returns true the result is None.
        """
        source = EvalSource(dataset.images, dataset.metadata.label, rows, self.batch_size, own_share())
        in_flight: collections.deque[Sent] = collections.deque()
        logits = []
        stream = batches(source, num_threads=self._resolved.num_threads)
        for batch in prefetch(stream, split_batch(self._mesh)):
            # Before every batch, as often on every process: they count these questions together.
            if should_stop():
                return None
            in_flight.append(self._begin(variables, batch))
            if len(in_flight) == IN_FLIGHT:
                logits.append(fetch(in_flight.popleft()))
        return np.concatenate([*logits, *map(fetch, in_flight)])

    def send(self, variables: Variables, images: np.ndarray, size: int | None = None) -> Sent:
        """Begin to predict images that are in memory, without waiting; `fetch` waits.

        Args:
            variables: `params` and `batch_stats`, on every device.
            images: [N, S, S, 3] uint8, 1 to `size`. Of several processes each would send its own part.
            size: of the batch that they are padded to, a multiple of the devices; `batch_size` by default.
        """
        size = size or self.batch_size
        mask = np.arange(size) < len(images)
        # Padded by repeating real images: one shape, so one program.
        padded = images[np.resize(np.arange(len(images)), size)]
        batch = {"image": padded, "mask": mask.astype(np.float32)}
        return self._begin(variables, put_batch(batch, split_batch(self._mesh)))

    def _begin(self, variables: Variables, batch: Mapping[str, jax.Array]) -> Sent:
        predicted = self._eval_step(variables["params"], variables["batch_stats"], batch["image"])
        return self._gather((predicted, batch["mask"]))

    def explain(
        self, variables: Variables, dataset: Dataset, errors: Sequence[Mapping[str, Any]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the images of some errors, and what in them spoke for the predicted class (Grad-CAM).

        Args:
            variables: `params` and `batch_stats`, on every device.
            dataset: prepared images, those of the errors among them.
            errors: from `worst_errors`.

        Returns:
            Images [M, S, S, 3] uint8 and heat maps [M, S, S] float32 in [0, 1].
        """
        rows = np.searchsorted(dataset.metadata.image_id, np.array([error["image_id"] for error in errors], str))
        images = dataset.images[rows]
        return images, self.heat_maps(variables, images, [error["predicted"] for error in errors])

    def heat_maps(self, variables: Variables, images: np.ndarray, predicted: Sequence[str]) -> np.ndarray:
        """Return what in images spoke for a class (Grad-CAM): [M, S, S] float32 in [0, 1].

        Args:
            variables: `params` and `batch_stats`, on every device.
            images: [M, S, S, 3] uint8.
            predicted: M names of classes.
        """
        if not predicted:  # a network has no shape for a batch of none
            return np.zeros(images.shape[:3], np.float32)
        classes = jnp.array([CLASSES.index(name) for name in predicted])
        # On one device of each process, without the mesh: few images, and their number need not divide evenly.
        local = local_copy(variables)
        scaled = scale_images(jnp.asarray(images), self._resolved.input_scale, self._model.dtype)
        return jax.device_get(grad_cam(self._model, local, scaled, classes))


def fetch(sent: Sent) -> np.ndarray:
    """Wait for the logits of a batch, and cut off those of its padding."""
    logits, mask = jax.device_get(sent)
    return logits[mask > 0]
