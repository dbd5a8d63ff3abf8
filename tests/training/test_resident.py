"""Images in device memory give the batches that the host gives."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamjax import train
from hamjax.config import Config
from hamjax.data.augment import Augmentation, draw_affines, warp
from hamjax.data.pipeline import TrainSource
from hamjax.runtime.devices import make_mesh, put_batch, put_replicated, split_batch
from hamjax.runtime.errors import UserError
from hamjax.training.device_dataset import look_up, put_images, read_batch, require_room, warp_images

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (50, 12, 12, 3), dtype=np.uint8)
SOURCE = TrainSource(
    images=IMAGES,
    labels=RNG.integers(0, 7, 50).astype(np.int32),
    epoch_rows=np.arange(5, 45),
    batch_size=16,
    steps_per_epoch=2,
    num_steps=6,
    seed=4,
    augmentation=Augmentation(),
)


def test_the_device_and_the_host_differ_by_one_grey_level_in_ten_thousand_pixels(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)
    affines = draw_affines(Augmentation(flips=True), 8, 96, rng)
    host = np.empty_like(pixels)
    for i in range(8):
        warp(pixels[i], affines[i], host[i])
    device = np.asarray(warp_images(jnp.asarray(pixels), jnp.asarray(affines, jnp.float32)))
    difference = np.abs(device.astype(int) - host)
    assert difference.max() <= 1
    assert difference.mean() < 2e-4


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("augmentation", [None, Augmentation(), Augmentation(colour=0.3)])
def test_every_device_gets_its_part_of_the_batch(devices: int, augmentation: Augmentation | None) -> None:
    mesh = make_mesh(jax.devices()[:devices])
    resident = put_images(IMAGES, mesh)
    host = dataclasses.replace(SOURCE, augmentation=augmentation)
    rows = dataclasses.replace(host, pixels=False)
    for step in (0, 5):
        given = {name: value for name, value in rows[step].items() if name != "mask"}
        assert "image" not in given
        read = jax.jit(read_batch, static_argnames="mesh")(resident, put_batch(given, split_batch(mesh)), mesh=mesh)
        assert read["image"].sharding.is_equivalent_to(split_batch(mesh), 4)
        np.testing.assert_array_equal(read["label"], host[step]["label"])
        assert np.abs(np.asarray(read["image"]).astype(int) - host[step]["image"]).max() <= (
            0 if augmentation is None else 1 + 2 * (augmentation.colour > 0)
        )


def test_each_device_holds_its_share_and_every_image_is_found() -> None:
    mesh = make_mesh()
    resident = put_images(IMAGES, mesh)
    assert {shard.data.shape[0] for shard in resident.addressable_shards} == {13}  # 50 over 4
    rows = put_replicated(np.arange(48, dtype=np.int32), mesh)
    np.testing.assert_array_equal(look_up(resident, rows, mesh), IMAGES[:48])


def test_what_does_not_fit_is_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamjax.training.device_dataset.free_memory", lambda device: 3 * 2**30)
    mesh = make_mesh(jax.devices()[:2])
    require_room(2**30, mesh)
    with pytest.raises(UserError, match=r"at most 50% of the 3\.00 GiB free on .*, got 1\.75 GiB for each of 2"):
        require_room(7 * 2**28, mesh)


def test_a_run_from_device_memory_is_nearly_one_from_the_host(tiny: Callable[..., Config], tmp_path: Path) -> None:
    losses = {}
    for where in ("host", "device"):
        result = train(tiny(data__augment_on=where, train__max_steps=10), tmp_path / where)
        assert result is not None
        losses[where] = result.report.summary["loss"]
    assert losses["device"] == pytest.approx(losses["host"], rel=0.02)
