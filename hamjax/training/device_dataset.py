"""The data set in device memory: a batch is looked up and augmented inside the step.

The host then sends a row and a transform for each image instead of its pixels. This is for accelerators whose step
takes less time than the host's cores need to warp a batch.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates
from jax.sharding import Mesh, PartitionSpec

from hamjax.data.augment import LUMA
from hamjax.runtime.devices import split_batch
from hamjax.runtime.errors import UserError

Array = jax.Array
SHARE_OF_MEMORY = 0.5  # the rest is for the network and its activations


def put_images(images: np.ndarray, mesh: Mesh) -> Array:
    """Spread a data set over the devices.

    Args:
        images: [N, S, S, 3] uint8; of a memory map each process reads only its devices' part.
        mesh: with the axis `data`.

    Returns:
        [N', S, S, 3] uint8, N' being N rounded up to a multiple of the devices.

    Raises:
        UserError: it would take too much of a device's memory.
    """
    each = -(-len(images) // mesh.size)
    require_room(each * images[0].nbytes, mesh)

    def part(index: Any) -> np.ndarray:
        rows = np.arange(*index[0].indices(each * mesh.size))
        return images[np.minimum(rows, len(images) - 1)]  # the last device's rest is never asked for

    shape = (each * mesh.size, *images.shape[1:])
    return jax.make_array_from_callback(shape, split_batch(mesh), part)


def require_room(nbytes: int, mesh: Mesh) -> None:
    """Refuse a data set that would take more than half of a device's free memory.

    Raises:
        UserError: with the numbers.
    """
    device = mesh.local_devices[0]
    free = free_memory(device)
    if nbytes > SHARE_OF_MEMORY * free:
        raise UserError(
            f"data.augment_on=device: expected a data set of at most {SHARE_OF_MEMORY:.0%} of the "
            f"{free / 2**30:.2f} GiB free on {device}, got {nbytes / 2**30:.2f} GiB for each of {mesh.size} "
            "devices; use more devices, a smaller --config.data.image_size, or --config.data.augment_on=host."
        )


def free_memory(device: Any) -> int:
    """Return the bytes free on a device; of a CPU, which does not say, an even share of the machine's."""
    # What the network takes is not known yet, hence a share of what is free and not all of it.
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // jax.local_device_count()


def read_batch(images: Array, batch: dict[str, Array], mesh: Mesh) -> dict[str, Array]:
    """Turn rows and transforms into pixels, on the devices.

    Args:
        images: from `put_images`.
        batch: `row` [B] int32, `label` [B], and where images are augmented float32 `affine`
            [B, 2, 3] and maybe `colour` [B, 3].
        mesh: the images' and the batch's.

    Returns:
        `image` [B, S, S, 3] uint8 and `label`.
    """
    image = look_up(images, batch["row"], mesh)
    if "affine" in batch:
        image = warp_images(image, batch["affine"])
    if "colour" in batch:
        image = jitter_images(image, batch["colour"])
    return {"image": image, "label": batch["label"]}


def look_up(images: Array, rows: Array, mesh: Mesh) -> Array:
    """Gather `images[rows]`, both split over the devices.

    Every device gives what it holds of the whole batch; each image comes from one of them,
    so their sum is the batch.
    """
    # No collectives where there is no other device to exchange images with.
    if mesh.size == 1:
        return images[rows]

    def gather(images: Array, rows: Array) -> Array:
        places = lax.all_gather(rows, "data", tiled=True) - lax.axis_index("data") * len(images)
        held = (places >= 0) & (places < len(images))
        found = jnp.where(held[:, None, None, None], images[jnp.where(held, places, 0)], 0)
        return lax.psum_scatter(found, "data", tiled=True)

    split = PartitionSpec("data")
    return jax.shard_map(gather, mesh=mesh, in_specs=(split, split), out_specs=split)(images, rows)


def warp_images(images: Array, affines: Array) -> Array:
    """Apply one transform an image, bilinear, edges repeated, as `hamjax.data.augment.warp` does.

    Args:
        images: [B, S, S, 3] uint8.
        affines: [B, 2, 3] float32, from output (row, column, 1) to input (row, column).

    Returns:
        [B, S, S, 3] uint8, rounded.
    """
    height, width = images.shape[1:3]
    row, column = np.indices((height, width)).reshape(2, -1)
    grid = jnp.asarray(np.stack([row, column, np.ones_like(row)]), jnp.float32)
    # In full precision: an accelerator's quicker product would move pixels.
    places = jnp.einsum("bij,jp->bip", affines, grid, precision=lax.Precision.HIGHEST)

    def warp_channel(channel: Array, places: Array) -> Array:
        return map_coordinates(channel, list(places), order=1, mode="nearest")

    warp_image = jax.vmap(warp_channel, in_axes=(-1, None), out_axes=-1)
    return jax.vmap(warp_image)(images, places).reshape(images.shape)


def jitter_images(images: Array, factors: Array) -> Array:
    """Change brightness, contrast and saturation as `hamjax.data.augment.jitter` does.

    Args:
        images: [B, S, S, 3] uint8.
        factors: [B, 3] float32.

    Returns:
        [B, S, S, 3] uint8, rounded.
    """
    b, c, s = jnp.moveaxis(factors, 1, 0)[..., None, None, None]
    x = images.astype(jnp.float32)
    grey = (x * jnp.asarray(LUMA, jnp.float32)).sum(-1, keepdims=True)
    mean = grey.mean((1, 2), keepdims=True)
    changed = b * c * (s * x + (1 - s) * grey) + b * (1 - c) * mean
    return jnp.clip(jnp.round(changed), 0, 255).astype(jnp.uint8)
