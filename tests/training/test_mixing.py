"""Mixed images, and labels mixed as they are."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamjax.training.mixing import MIXES

pytestmark = pytest.mark.usefixtures("quick_compiler")

COUNT, SIZE = 64, 24
FLAT = np.arange(COUNT, dtype=np.uint8)[:, None, None, None] * np.ones((1, SIZE, SIZE, 3), np.uint8)
EACH = jnp.eye(COUNT)  # every image its own class: targets then say which images were mixed


@functools.cache
def _mix(name: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
    return jax.jit(functools.partial(MIXES[name], alpha=0.4))


def _contents(image: jax.Array) -> np.ndarray:
    """Return the shares [B, B] of the flat images in each mixed one."""
    pixels = np.asarray(image, float)
    own, other = np.arange(COUNT), np.roll(np.arange(COUNT), 1)
    kept = ((pixels - other[:, None, None, None]) / (own - other)[:, None, None, None]).mean((1, 2, 3))
    return kept[:, None] * np.eye(COUNT) + (1 - kept[:, None]) * np.roll(np.eye(COUNT), 1, axis=0)


@pytest.mark.parametrize("name", MIXES)
def test_labels_are_mixed_as_the_images_are(name: str) -> None:
    mix = _mix(name)
    image, targets = mix(jax.random.key(4), FLAT, EACH)
    np.testing.assert_allclose(targets, _contents(image), atol=1e-5)
    again, other = (mix(jax.random.key(key), FLAT, EACH) for key in (4, 5))
    jax.tree.map(np.testing.assert_array_equal, again, (image, targets))
    assert not np.array_equal(other[1], targets)


def test_mixup_draws_from_its_beta() -> None:
    kept = np.concatenate([np.diag(_mix("mixup")(jax.random.key(k), FLAT, EACH)[1]) for k in range(30)])
    assert kept.mean() == pytest.approx(0.5, abs=0.03)
    assert kept.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(a, a)


def test_cutmix_pastes_one_rectangle_of_the_neighbour() -> None:
    image = np.asarray(_mix("cutmix")(jax.random.key(0), FLAT, EACH)[0])
    assert image.dtype == np.uint8
    for i in range(COUNT):
        pasted = (image[i] == i - 1 if i else image[i] == COUNT - 1).all(-1)
        assert ((image[i] == i).all(-1) | pasted).all()
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, np.outer(rows, columns))
        for side in (rows, columns):
            assert (np.diff(np.flatnonzero(side)) == 1).all()
