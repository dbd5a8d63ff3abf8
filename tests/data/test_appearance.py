"""How an image looks, in a few numbers."""

import numpy as np
import pytest

from hamjax.data.appearance import appearance


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (64, 64, 3), np.uint8)


def test_colour_and_contrast_are_means_and_deviations(image: np.ndarray) -> None:
    found, pixels = appearance(image), image.reshape(-1, 3) / 255
    np.testing.assert_allclose(found[:3], pixels.mean(0), rtol=1e-5)
    between = [pixels[:, 0] - pixels[:, 1], pixels[:, 1] - pixels[:, 2]]
    np.testing.assert_allclose(found[3:8], np.log(np.std([*pixels.T, *between], axis=1) + 0.01), rtol=1e-5)


def test_changes_are_down_and_across() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # each column unlike the next, and like the one after that
    changes = np.exp(appearance(stripes)[8:]) - 1e-3
    np.testing.assert_allclose(changes.reshape(4, 2), [[0, 1], [0, 0], [0, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(
        appearance(stripes.transpose(1, 0, 2))[8:].reshape(4, 2)[:, ::-1].ravel(), appearance(stripes)[8:], rtol=1e-6
    )


@pytest.mark.parametrize("side", [4, 16, 75, 224, 384])
def test_a_larger_image_of_the_same_looks_much_the_same(image: np.ndarray, side: int) -> None:
    found = appearance(np.full((side, side, 3), image[0, 0]))
    assert np.isfinite(found).all()
    assert len(found) == {4: 10, 16: 12}.get(side, 16)
    np.testing.assert_allclose(found[:3], image[0, 0] / 255, rtol=1e-5)
