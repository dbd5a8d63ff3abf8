"""Score images that carry no label: the networks of a run, or of several, ready for one batch after another.

A folder of images, a zip and an upload all end here: `decode_image` gives what `ImageScorer.send` takes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hamjax.data.splits import TEST
from hamjax.data.unlabelled import Decoded, Shape
from hamjax.evaluation.ensemble import Ensemble, Workdirs
from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.prediction import Score
from hamjax.evaluation.predictor import Sent
from hamjax.evaluation.uncertainty import make_sets, promise, stored_calibration
from hamjax.evaluation.unlike import measure, read_likeness
from hamjax.runtime.paths import as_text
from hamjax.training.run_directory.finished import read_summary
from hamjax.training.run_directory.record import read_split


@dataclasses.dataclass(frozen=True)
class Pending:
    """A batch whose scores are being computed: see `Predictor.send`; the distances [N] of each run."""

    sent: list[Sent]
    distances: list[np.ndarray | None]


class ImageScorer:
    """The networks of one run or several, ready to score; the runs' data are not needed.

    Args:
        workdirs: see `Ensemble`.
        tta: see `Ensemble`.

    Attributes:
        names: of the runs, as they were given.
        shapes: the images that the networks take, without repeats; the first run's is the first.
        batch_size: images that `send` takes, at most.
        devices: that share a batch.
        temperature: of calibration, where the run's report fitted one for these predictions.
        operating_points: rows of the run's report for these predictions; empty where there are none.
        without_report: why the run's report has nothing for these predictions; empty where it has.
        calibration: of prediction sets, where the run's report has one for these predictions.

    Raises:
        UserError: there is no such run, or a file of it is damaged.
    """

    def __init__(self, workdirs: Workdirs, tta: str | None = None) -> None:
        self._ensemble = Ensemble(workdirs, tta=tta)
        members = self._ensemble.members
        self.names = [as_text(run.workdir) for run in self._ensemble.runs]
        self.shapes: list[Shape] = list(dict.fromkeys(member.shape for member in members))
        self.batch_size = self._ensemble.batch_size
        self.devices: int = self._ensemble.runs[0].mesh.size
        reported, self.without_report = self._reported()
        self.temperature: float | None = reported.get("calibration", {}).get("temperature")
        self.operating_points: list[dict[str, Any]] = reported.get("operating_points", [])
        first = self._ensemble.runs[0]
        self.calibration = stored_calibration(first.workdir, self._ensemble.facts())
        self._likeness = [read_likeness(member.run.workdir, member.shape[0]) for member in members]
        self._parts = [_learned_from(run.workdir) for run in self._ensemble.runs]

    def send(self, images: Sequence[Decoded], size: int | None = None) -> Pending:
        """Begin to score images, without waiting; `fetch` waits.

        Args:
            images: 1 to `size`.
            size: of the batch, a multiple of `devices`; each size is a program of its own. By default `batch_size`.
        """
        stacked = {shape: np.stack([each.pixels[shape] for each in images]) for shape in self.shapes}
        sent = self._ensemble.send(stacked, size)
        # On the host, while the devices are busy.
        distances = [
            None if likeness is None else likeness.distances(measure(stacked[member.shape]))
            for likeness, member in zip(self._likeness, self._ensemble.members, strict=True)
        ]
        return Pending(sent, distances)

    def fetch(self, pending: Pending) -> list[Score]:
        """Wait for the scores of a batch."""
        logits = self._ensemble.fetch(pending.sent)
        probabilities = softmax(logits)
        calibrated = None if self.temperature is None else softmax(logits / self.temperature)
        sets = None if self.calibration is None else make_sets(probabilities, self.calibration)
        return [
            Score(
                row,
                None if calibrated is None else calibrated[i],
                *self._compare(i, pending.distances),
                None if sets is None else {kind: chosen[i] for kind, chosen in sets.items()},
            )
            for i, row in enumerate(probabilities)
        ]

    def heat_maps(self, images: Sequence[Decoded], predicted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Explain predictions by the first run alone.

        Returns:
            Its images [M, S, S, 3] uint8 and their heat maps [M, S, S]; see `Predictor.heat_maps`.
        """
        pixels = np.stack([each.pixels[self.shapes[0]] for each in images])
        return pixels, self._ensemble.heat_maps(pixels, predicted)

    def learned_from(self, image_id: str) -> tuple[str | None, ...]:
        """Return for each run in which part it has an image of this id, if it learned or chose from it."""
        return tuple(parts.get(image_id) for parts in self._parts)

    def facts(self) -> dict[str, Any]:
        """Describe what scores: the runs with their networks, the checkpoint, the views; see `Ensemble.facts`."""
        runs = [
            {
                "run": name,
                "model": run.config.model.name,
                "strategy": str(run.config.sampling.strategy),
                "image_size": run.config.data.image_size,
                "unlike_threshold": None if likeness is None else likeness.threshold,
            }
            for name, run, likeness in zip(self.names, self._ensemble.runs, self._likeness, strict=True)
        ]
        of_all = self._ensemble.facts()
        return {
            "runs": runs,
            "checkpoint": of_all["checkpoint"],
            "tta": of_all["tta"],
            "temperature": self.temperature,
            "operating_points": self.operating_points,
            "conformal": self._conformal(),
            "without_report": self.without_report,
        }

    def _conformal(self) -> dict[str, Any] | None:
        """Return what the prediction sets rest on, named as in `test.json`, and that nothing is promised."""
        if self.calibration is None:
            return None
        elsewhere = promise("external", {"external": {}}, self.calibration["unit"])
        return {"calibration": self.calibration, **elsewhere}

    def _compare(
        self, i: int, distances: Sequence[np.ndarray | None]
    ) -> tuple[tuple[float | None, ...], tuple[bool | None, ...]]:
        own = [None if each is None else float(each[i]) for each in distances]
        unlike = [
            None if distance is None or likeness is None else distance > likeness.threshold
            for distance, likeness in zip(own, self._likeness, strict=True)
        ]
        return tuple(own), tuple(unlike)

    def _reported(self) -> tuple[Mapping[str, Any], str]:
        """Return the run's report if it is on these very predictions, and if not, why not."""
        if len(self._ensemble.members) > 1:
            # A temperature and thresholds are those of one distribution of probabilities.
            return {}, "a mean of several runs has no report of its own"
        (member,) = self._ensemble.members
        summary = read_summary(member.run.workdir)
        if summary is None:
            return {}, "its report/test.json is missing or damaged; `hamjax train`, started again, writes it"
        if summary.get("checkpoint") != member.checkpoint:
            return {}, "its report is on another checkpoint"
        if summary.get("tta") != self._ensemble.tta:
            return {}, f"its report is on other views: {'without' if summary.get('tta') == 'none' else 'with'} --tta"
        return summary, ""


def _learned_from(workdir: Any) -> dict[str, str]:
    metadata, part = read_split(workdir)
    return {image: str(name) for image, name in zip(metadata.image_id.tolist(), part, strict=True) if name != TEST}
