"""The one composed affine is Keras's three, within half a grey level; colours are PIL's."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from hamjax.data.augment import Augmentation, compose_affines, draw_affines, draw_transforms, jitter, warp
from hamjax.data.preparation.images import decode, resize
from hamjax.data.sources.folder import LocalSource
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.training.device_dataset import jitter_images, warp_images

SIZE, COUNT = 64, 200
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def keras_affine(image: np.ndarray, theta: float, shift: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    """keras_preprocessing.image.affine_transformations.apply_affine_transform, 1.1.2."""
    rotation = np.array([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]])
    translation = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    matrix = rotation @ translation @ np.diag([zoom[0], zoom[1], 1])
    x, y = image.shape[0] / 2 - 0.5, image.shape[1] / 2 - 0.5
    offset = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
    reset = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
    matrix = offset @ matrix @ reset
    affine_transform: Any = ndimage.affine_transform  # its stubs want one offset for all axes
    channels = [
        affine_transform(channel, matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest")
        for channel in np.moveaxis(image.astype(np.float64), 2, 0)
    ]
    return np.stack(channels, -1)


def _images(source: LocalSource | SyntheticSource) -> np.ndarray:
    ids = source.metadata.image_id[:: len(source.metadata) // COUNT][:COUNT].tolist()
    return np.stack([resize(decode(source.read(i)), SIZE, "squash") for i in ids])


@pytest.fixture(scope="module", params=["drawn", "real"])
def images(request: pytest.FixtureRequest) -> np.ndarray:
    if request.param == "real":
        return _images(LocalSource(request.getfixturevalue("real_data")))
    return _images(SyntheticSource(300))


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    rng = np.random.default_rng(7)
    theta = np.deg2rad(rng.uniform(-90, 90, COUNT))
    return theta, rng.uniform(-0.1, 0.1, (COUNT, 2)) * SIZE, rng.uniform(0.9, 1.1, (COUNT, 2))


@pytest.fixture(scope="module")
def reference(images: np.ndarray, drawn: Drawn) -> np.ndarray:
    return np.stack([keras_affine(i, *parameters) for i, *parameters in zip(images, *drawn, strict=True)])


def _apply(images: np.ndarray, affines: np.ndarray) -> np.ndarray:
    out = np.empty_like(images)
    for image, affine, result in zip(images, affines, out, strict=True):
        warp(image, affine, result)
    return out


def _passes(result: np.ndarray, reference: np.ndarray) -> bool:
    difference = np.abs(result - reference)
    print(f"mean {difference.mean():.3f}, largest {difference.max():.3f} grey levels")
    return bool(difference.mean() <= 0.3 and difference.max() <= 1)


def test_warp_is_keras_augmentation(images: np.ndarray, drawn: Drawn, reference: np.ndarray) -> None:
    assert _passes(_apply(images, compose_affines(*drawn, SIZE)), reference)


def test_the_devices_warp_is_keras_augmentation(images: np.ndarray, drawn: Drawn, reference: np.ndarray) -> None:
    affines = compose_affines(*drawn, SIZE).astype(np.float32)
    assert _passes(np.asarray(jax.jit(warp_images)(images, affines)), reference)


def _wrong_centre(theta: np.ndarray, shift: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    right = compose_affines(theta, shift, zoom, SIZE)
    # As keras-preprocessing had it before October 2020: s/2 + .5.
    right[:, :, 2] += 1 - right[:, :, :2].sum(-1)
    return right


def _wrong_order(theta: np.ndarray, shift: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(theta), np.sin(theta)
    turned = np.stack([cos * shift[:, 0] + sin * shift[:, 1], cos * shift[:, 1] - sin * shift[:, 0]], 1)
    return compose_affines(theta, turned, zoom, SIZE)  # shift before rotation


def _swapped_zooms(theta: np.ndarray, shift: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    return compose_affines(theta, shift, zoom[:, ::-1], SIZE)


@pytest.mark.parametrize("wrong", [_wrong_centre, _wrong_order, _swapped_zooms])
def test_a_wrong_transform_fails_that_test(
    images: np.ndarray, drawn: Drawn, reference: np.ndarray, wrong: Callable[..., np.ndarray]
) -> None:
    assert not _passes(_apply(images, wrong(*drawn)), reference)


def test_nearest_sampling_fails_that_test(
    images: np.ndarray, drawn: Drawn, reference: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hamjax.data import augment

    monkeypatch.setattr(augment.cv2, "INTER_LINEAR", augment.cv2.INTER_NEAREST)
    assert not _passes(_apply(images, compose_affines(*drawn, SIZE)), reference)


def _recover(affines: np.ndarray) -> Drawn:
    """Read rotation, shift and zoom back off the matrices."""
    linear = affines[:, :, :2]
    zoom = np.sqrt((linear**2).sum(1))
    theta = np.arctan2(linear[:, 1, 0], linear[:, 0, 0])
    centre = SIZE / 2 - 0.5
    moved = affines[:, :, 2] - centre + linear.sum(-1) * centre
    cos, sin = np.cos(theta), np.sin(theta)
    shift = np.stack([cos * moved[:, 0] + sin * moved[:, 1], cos * moved[:, 1] - sin * moved[:, 0]], 1)
    return theta, shift, zoom


def test_draws_fill_the_ranges_of_the_paper() -> None:
    affines = draw_affines(Augmentation(), 4000, SIZE, np.random.default_rng(0))
    theta, shift, zoom = _recover(affines)
    for values, low, high in ((np.rad2deg(theta), -90, 90), (shift / SIZE, -0.1, 0.1), (zoom, 0.9, 1.1)):
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high >= values.max() > high - 0.02 * (high - low)
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    assert abs(np.corrcoef(zoom.T)[0, 1]) < 0.05  # Keras draws the two axes apart


def test_options_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    turned = _recover(draw_affines(Augmentation(rotation="rot90", zoom=0, shift=0), 400, SIZE, rng))[0]
    assert set(np.rad2deg(turned).round().astype(int) % 360) == {0, 90, 180, 270}
    _, _, zoom = _recover(draw_affines(Augmentation(isotropic_zoom=True), 50, SIZE, rng))
    np.testing.assert_allclose(zoom[:, 0], zoom[:, 1])
    flipped = draw_affines(Augmentation(flips=True, degrees=0, zoom=0, shift=0), 400, SIZE, rng)
    signs = {tuple(np.sign(np.diag(a[:, :2])).astype(int)) for a in flipped}
    assert signs == {(1, 1), (1, -1), (-1, 1), (-1, -1)}


def _jitter_on_host(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    out = np.empty_like(images)
    for image, three, result in zip(images, factors, out, strict=True):
        jitter(image, three, result)
    return out


def _jitter_on_device(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(jitter_images)(images, factors.astype(np.float32)))


@pytest.mark.parametrize("jitter_all", [_jitter_on_host, _jitter_on_device])
def test_colours_are_pils(jitter_all: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(60, 110, (30, SIZE, SIZE, 3), np.uint8)  # PIL cuts off after each blend, we at the end
    factors = rng.uniform(0.7, 1.3, (30, 3))
    factors[:12] = np.where(np.eye(3).repeat(4, 0), factors[:12], 1)  # one at a time
    for k, image in enumerate(jitter_all(images, factors)):
        expected = Image.fromarray(images[k])
        blends = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for blend, factor in zip(blends, factors[k], strict=True):
            expected = blend(expected).enhance(float(factor))
        difference = image.astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= (2 if k < 12 else 4)  # PIL truncates three times
        assert np.abs(difference.mean()) < (0.8 if k < 12 else 2)


def test_colours_of_the_device_are_the_hosts_and_stop_at_white() -> None:
    rng = np.random.default_rng(1)
    images, factors = rng.integers(0, 256, (8, SIZE, SIZE, 3), np.uint8), rng.uniform(0.5, 1.5, (8, 3))
    host, device = (f(images, factors).astype(int) for f in (_jitter_on_host, _jitter_on_device))
    assert np.abs(host - device).max() <= 1
    assert (host - device).mean() == pytest.approx(0, abs=0.05)
    np.testing.assert_array_equal(_jitter_on_device(images, np.ones((8, 3))), images)


def test_colour_draws_fill_their_range_and_leave_the_transforms_alone() -> None:
    plain, coloured = (
        draw_transforms(Augmentation(colour=colour), 4000, SIZE, np.random.default_rng(0)) for colour in (0.0, 0.2)
    )
    assert "colour" not in plain
    np.testing.assert_array_equal(plain["affine"], coloured["affine"])
    assert (coloured["colour"].min(), coloured["colour"].max()) == pytest.approx((0.8, 1.2), abs=1e-3)
    assert np.abs(np.corrcoef(coloured["colour"].T) - np.eye(3)).max() < 0.05
