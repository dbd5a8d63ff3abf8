"""Inference: views of an image, batches, and what changes no prediction."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from hamjax.data.dataset import Dataset
from hamjax.data.external import read_external
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.evaluation import predictor
from hamjax.evaluation.averaging import average_logits, views
from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.predictor import Predictor
from hamjax.evaluation.trained_run import TrainedRun
from tests.helpers.external_set import write_labels


def test_views_are_the_eight_symmetries_of_the_square() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)
    expected = [side if k == 0 else np.rot90(side, k) for side in (image[1], image[1][:, ::-1]) for k in range(4)]
    seen = np.asarray(views(jax.numpy.asarray(image), "d4"))
    np.testing.assert_array_equal(seen[1], expected)
    assert len({view.tobytes() for view in seen[1]}) == 8


def test_augmented_predictions_are_the_mean_of_eight_explicit_ones(
    finished: Path, drawn: tuple[Path, list[tuple[str, str]]], tmp_path: Path
) -> None:
    folder, labels = drawn
    dataset = read_external(folder, write_labels(tmp_path / "labels.csv", "pairs", labels)).dataset(16, "squash")
    run = TrainedRun(finished)
    variables, _ = run.restore()
    plain, rows = Predictor(run.resolved, run.model, run.mesh), np.arange(len(dataset.images))
    explicit = []
    for mirrored in (False, True):
        for k in range(4):
            turned = np.rot90(dataset.images[:, :, ::-1] if mirrored else dataset.images, k, axes=(1, 2))
            logits = plain(variables, _with_images(dataset, np.ascontiguousarray(turned)), rows)
            assert logits is not None
            explicit.append(softmax(logits))
    together = plain.with_tta("d4")(variables, dataset, rows)
    assert together is not None
    np.testing.assert_allclose(softmax(together), np.mean(explicit, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.exp(together), np.mean(explicit, axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 16, 17, 53])
def test_a_batch_is_sent_before_the_answers_of_the_one_before_are_fetched(
    finished: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    events: list[str] = []

    def make_eval_step(model: Any, input_scale: str, tta: str, **_: Any) -> Callable[..., jax.Array]:
        del model, input_scale, tta

        def eval_step(params: Any, batch_stats: Any, image: jax.Array) -> jax.Array:
            del params, batch_stats
            events.append("sent")
            return image.astype(np.float32).sum((1, 2))  # [B, 3], of each image alone

        return eval_step

    def device_get(tree: Any) -> Any:
        events.append("fetched")
        return fetch(tree)

    def should_stop() -> bool:
        events.append("asked")
        return False

    fetch = jax.device_get
    monkeypatch.setattr(predictor, "make_eval_step", make_eval_step)
    monkeypatch.setattr(jax, "device_get", device_get)
    run = TrainedRun(finished)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4, 3), np.uint8)
    dataset = Dataset(images, SyntheticSource(300).metadata.select(np.arange(60)), "", (), "")
    rows = rng.permutation(60)[:count]
    resolved = dataclasses.replace(run.resolved, eval_batch_size=16)
    answers = Predictor(resolved, run.model, run.mesh)(run.restore()[0], dataset, rows, should_stop)
    np.testing.assert_array_equal(answers, images[rows].astype(np.float32).sum((1, 2)))
    events = events[events.index("asked") :]  # restoring fetches, too
    batches = -(-count // 16)
    assert [name for name in events if name != "fetched"] == ["asked", "sent"] * batches
    for i, at in enumerate([at for at, name in enumerate(events) if name == "fetched"]):
        assert events[:at].count("sent") == min(i + 2, batches)  # two in flight, never more
    assert events.count("fetched") == batches


def test_a_prediction_that_is_to_stop_gives_nothing(finished: Path) -> None:
    run = TrainedRun(finished)
    dataset = Dataset(np.zeros((300, 16, 16, 3), np.uint8), SyntheticSource(300).metadata, "", (), "")
    answers = iter([False, False, True])
    resolved = dataclasses.replace(run.resolved, eval_batch_size=16)
    found = Predictor(resolved, run.model, run.mesh)(run.restore()[0], dataset, np.arange(64), lambda: next(answers))
    assert found is None
    assert list(answers) == []


def test_the_batch_of_inference_changes_no_answer_beyond_rounding(finished: Path) -> None:
    run = TrainedRun(finished)
    variables, _ = run.restore()
    source = SyntheticSource(300)
    dataset = Dataset(
        np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), np.uint8), source.metadata, "", (), ""
    )
    rows = np.arange(100)
    small, large = (
        Predictor(resolved, run.model, run.mesh)(variables, dataset, rows)
        for resolved in (dataclasses.replace(run.resolved, eval_batch_size=size) for size in (8, 256))
    )
    assert small is not None
    assert large is not None
    np.testing.assert_allclose(small, large, rtol=1e-4, atol=1e-5)


def test_averaged_logits_keep_the_mean_where_probabilities_vanish() -> None:
    logits = np.array([[[0.0, -200.0]], [[0.0, -300.0]]], np.float32)
    mean = np.asarray(average_logits(jax.numpy.asarray(logits), axis=0))
    np.testing.assert_allclose(mean, [[0.0, -200 - np.log(2)]], rtol=1e-6, atol=1e-6)


def _with_images(dataset: Any, images: np.ndarray) -> Any:
    return dataclasses.replace(dataset, images=images)
