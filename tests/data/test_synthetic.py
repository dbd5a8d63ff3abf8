"""The drawn data set looks like HAM10000 in its numbers, and colour alone does not solve it."""

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hamjax.data.classes import CLASSES
from hamjax.data.preparation.images import decode
from hamjax.data.sources.synthetic import CLASS_IMAGES, LESIONS_BY_IMAGES, SyntheticSource
from hamjax.data.splits import TEST, TRAIN, make_split

COUNT = 4000


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return SyntheticSource(COUNT)


def test_class_mix_is_ham10000s(source: SyntheticSource) -> None:
    counts = source.metadata.class_counts()
    assert counts.sum() == COUNT
    for dx, count in zip(CLASSES, counts, strict=True):
        assert abs(count - CLASS_IMAGES[dx] * COUNT / 10015) <= 1


def test_images_per_lesion_are_ham10000s(source: SyntheticSource) -> None:
    _, images = np.unique(source.metadata.lesion_id, return_counts=True)
    shares = np.bincount(images, minlength=7)[1:] / len(images)
    np.testing.assert_allclose(shares, np.array(LESIONS_BY_IMAGES) / sum(LESIONS_BY_IMAGES), atol=0.02)


def test_an_image_can_be_drawn_alone_and_again(source: SyntheticSource) -> None:
    image_id = source.metadata.image_id[77]
    assert SyntheticSource(COUNT).read(image_id) == source.read(image_id)
    assert SyntheticSource(COUNT, seed=1).read(image_id) != source.read(image_id)


@pytest.mark.long
def test_linear_models_on_colour_and_thumbnails_fail(source: SyntheticSource) -> None:
    images = [np.asarray(decode(source.read(i))) for i in source.metadata.image_id.tolist()]
    colour = np.stack([image.mean((0, 1)) for image in images])
    thumbnails = np.stack([cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).ravel() for image in images])
    histograms = np.stack([[cv2.calcHist([i], [c], None, [16], [0, 256]) for c in range(3)] for i in images])
    rich = np.concatenate([thumbnails, histograms.reshape(COUNT, -1)], 1)
    labels, split = source.metadata.label, make_split(source.metadata, "honest")
    scores = {}
    for name, features in (("mean colour", colour), ("thumbnails and histograms", rich)):
        for strength in (0.001, 0.01, 0.1):
            model = LogisticRegression(C=strength, class_weight="balanced", max_iter=3000)
            fitted = make_pipeline(StandardScaler(), model).fit(features[split == TRAIN], labels[split == TRAIN])
            score = balanced_accuracy_score(labels[split == TEST], fitted.predict(features[split == TEST]))
            scores[name] = max(scores.get(name, 0.0), float(score))
    print(f"balanced accuracy of linear models: {scores}")
    assert scores["mean colour"] < 0.35
    assert scores["thumbnails and histograms"] < 0.5
