"""One thread that owns the network: images that come together are scored together."""

import collections
import dataclasses
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from hamjax.data.unlabelled import Decoded
from hamjax.evaluation.image_scorer import ImageScorer
from hamjax.evaluation.prediction import Explained

MOST = 32  # images of a batch: its first waits for its last


@dataclasses.dataclass(frozen=True)
class _Asked:
    image: Decoded
    heat: bool
    answer: "Future[Explained]"


class Batcher:
    """The network of a run, warm: every program that it will need is compiled when this returns.

    Args:
        scorer: of the run. Nobody else may use it from now on but for what it knows of the run.

    Attributes:
        sizes: of the batches, ascending.
    """

    def __init__(self, scorer: ImageScorer) -> None:
        self._scorer = scorer
        self.sizes = batch_sizes(scorer.devices, min(scorer.batch_size, MOST))
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._warm_up()
        # A daemon: a network that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    def ask(self, image: Decoded, heat: bool = False) -> "Future[Explained]":
        """Return the answer to come; one that is cancelled before its turn costs nothing."""
        asked = _Asked(image, heat, Future())
        self._asked.put(asked)
        return asked.answer

    def close(self) -> None:
        """Answer what was asked before, and end."""
        self._asked.put(None)
        self._thread.join()

    def _warm_up(self) -> None:
        black = Decoded({shape: np.zeros((shape[0], shape[0], 3), np.uint8) for shape in self._scorer.shapes}, False)
        for size in self.sizes:
            (score,) = self._scorer.fetch(self._scorer.send([black], size))
            if size == self.sizes[0]:
                self._scorer.heat_maps([black], [score.predicted])

    def _work(self) -> None:
        waiting: collections.deque[_Asked | None] = collections.deque()
        while True:
            if not waiting:
                waiting.append(self._asked.get())
            while not self._asked.empty():
                waiting.append(self._asked.get())
            if waiting[0] is None:
                return
            size = fitting_size(self.sizes, len(waiting))
            batch = []
            while waiting and waiting[0] is not None and len(batch) < size:
                asked = waiting.popleft()
                if asked is not None and asked.answer.set_running_or_notify_cancel():
                    batch.append(asked)
            if batch:
                self._answer(batch, size)

    def _answer(self, batch: Sequence[_Asked], size: int) -> None:
        try:
            scores = self._scorer.fetch(self._scorer.send([each.image for each in batch], size))
            explained = []
            for asked, score in zip(batch, scores, strict=True):
                # Scores alone do not wait for the heat maps of others, which take longer.
                if asked.heat:
                    explained.append((asked, score))
                else:
                    asked.answer.set_result(Explained(score, None))
            for asked, score in explained:
                # One at a time: one shape, so one program.
                _, heat = self._scorer.heat_maps([asked.image], [score.predicted])
                asked.answer.set_result(Explained(score, heat[0]))
        # It is the answer of those who asked; the thread goes on for others.
        except Exception as error:
            for asked in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(error)


def batch_sizes(devices: int, most: int) -> list[int]:
    """Return the sizes of batches: powers of two a device, up to `most` in all."""
    sizes = [devices]
    while 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    return sizes


def fitting_size(sizes: Sequence[int], waiting: int) -> int:
    """Return the largest size that those waiting fill, or the smallest: padding takes as long as images do."""
    return max((size for size in sizes if size <= waiting), default=sizes[0])
