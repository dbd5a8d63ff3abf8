# pyright: reportMissingImports=false
"""A training step in PyTorch, to measure hamjax's against."""

import itertools
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.torch_networks import load_variables, make_network

KERAS_EPSILON = 1e-7
foreach: Any = torch  # torch's types leave out its _foreach functions


class TorchPeer:
    """A network, an optimizer, and one batch that stays on the device.

    Args:
        name: `cnn`, `resnet50`, `inceptionv3` or `densenet201`.
        variables: hamjax's, to start from.
        batch: image [B, S, S, 3] uint8 and label [B].
        optimizer: `adam` or `rmsprop`, with Keras's arithmetic.
        learning_rate: constant.
        dtype: `float32` or `float64`, or `bfloat16` for autocast.
        device: `cpu` or `cuda`.
        compiled: the mode of torch.compile, or None for eager.
    """

    def __init__(
        self,
        name: str,
        variables: Mapping[str, Any],
        batch: Mapping[str, np.ndarray],
        *,
        optimizer: str,
        learning_rate: float,
        dtype: str,
        device: str,
        compiled: str | None,
    ) -> None:
        self._on_gpu = device == "cuda"
        self._device, self._mixed = device, dtype == "bfloat16"
        self._configure()
        self._image = torch.tensor(batch["image"], device=device)
        self._label = torch.tensor(batch["label"], device=device, dtype=torch.long)
        self._model: Any = make_network(
            name, batch["image"].shape[1], torch.float64 if dtype == "float64" else torch.float32
        )  # torch's types do not know memory_format
        load_variables(self._model, variables)
        self._model.to(device=device, memory_format=torch.channels_last)
        if compiled:
            # Not Module.compile: of an nn.Sequential that compiles each of the layers by itself.
            self._model = torch.compile(self._model, mode=compiled)
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        self._optimizer = (keras_adam if optimizer == "adam" else KerasRMSprop)(parameters, learning_rate)

    def losses(self, steps: int) -> list[float]:
        """Take steps; return the loss before each."""
        self._model.train()
        return torch.stack([self._step() for _ in range(steps)]).tolist()

    def train(self, steps: int) -> None:
        """Take steps, and return when they are done."""
        self._model.train()
        for _ in range(steps):
            self._step()
        self._wait()

    def predict(self, passes: int) -> None:
        """Pass the batch through the network for logits alone, and return when that is done."""
        self._model.eval()
        with torch.inference_mode():
            for _ in range(passes):
                self._logits()
        self._wait()

    def _configure(self) -> None:
        """Choose how torch computes; this is for the whole process."""
        torch.set_num_threads(os.cpu_count() or 1)
        torch.backends.cudnn.benchmark = True
        if self._on_gpu:
            # float32 is to mean float32; beside bfloat16 there is nothing to keep exact.
            torch.set_float32_matmul_precision("high" if self._mixed else "highest")
            torch.backends.cudnn.allow_tf32 = self._mixed

    def _logits(self) -> Tensor:
        with torch.autocast(self._device, torch.bfloat16, enabled=self._mixed):
            return self._model(self._image)

    def _step(self) -> Tensor:
        self._optimizer.zero_grad()
        logits = self._logits()
        loss = F.cross_entropy(logits.float() if self._mixed else logits, self._label)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def _wait(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()


def keras_adam(parameters: Iterable[Tensor], learning_rate: float) -> torch.optim.Adam:
    """Make torch's fused Adam take Keras's steps.

    Keras adds its epsilon to sqrt(v), torch to sqrt(v / (1 - b2^t)): a scaled epsilon
    makes them the same.
    """
    optimizer = torch.optim.Adam(parameters, learning_rate, fused=True)
    steps = itertools.count(1)

    def scale_epsilon(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        (group,) = optimizer.param_groups
        group["eps"] = KERAS_EPSILON / math.sqrt(1 - group["betas"][1] ** next(steps))

    optimizer.register_step_pre_hook(scale_epsilon)
    return optimizer


class KerasRMSprop:
    """RMSprop with epsilon inside the root; torch.optim.RMSprop has it outside.

    These are the calls of torch's own foreach path, as many and as fast.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float) -> None:
        self._parameters = list(parameters)
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._learning_rate = learning_rate

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take a step."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        foreach._foreach_mul_(self._squares, 0.9)
        foreach._foreach_addcmul_(self._squares, gradients, gradients, 0.1)
        roots = foreach._foreach_add(self._squares, KERAS_EPSILON)
        foreach._foreach_sqrt_(roots)
        foreach._foreach_addcdiv_(self._parameters, gradients, roots, -self._learning_rate)
