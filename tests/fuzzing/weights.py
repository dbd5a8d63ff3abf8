"""Weights: HDF5 in both of Keras's layouts, alone, nested or in a .keras file, with wrong trees; and converted ones."""

import contextlib
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from hamjax.models.pretrained import read_tensors, save_weights
from hamjax.models.pretrained.convert import fill
from tests.fuzzing import keras_layouts
from tests.fuzzing.hostile import damage, damage_json, word

VARIABLES: dict[str, Any] = {
    "params": {
        "backbone": {
            "conv1_conv": {"kernel": np.zeros((3, 3, 3, 4), np.float32), "bias": np.zeros(4, np.float32)},
            "conv1_bn": {"scale": np.zeros(4, np.float32), "bias": np.zeros(4, np.float32)},
            "conv2_conv": {"kernel": np.zeros((1, 1, 4, 8), np.float32), "bias": np.zeros(8, np.float32)},
        },
        "head": {"dense": {"kernel": np.zeros((8, 7), np.float32)}},
    },
    "batch_stats": {"backbone": {"conv1_bn": {"mean": np.zeros(4, np.float32), "var": np.ones(4, np.float32)}}},
}


def make_samples(folder: Path) -> None:
    """Write one small network in every layout, alone and as a layer of another."""
    keras_layouts.write_samples(folder)
    save_weights(folder / "converted.npz", "resnet50", VARIABLES, source="fuzzing")


def mutate(rng: Random, samples: Path, folder: Path) -> Path:
    """Damage one file."""
    sample = rng.choice(sorted(samples.iterdir()))
    mutant = Path(shutil.copy(sample, folder / sample.name))
    if rng.random() < 0.3:
        mutant.write_bytes(damage(rng, sample.read_bytes()))
    elif sample.suffix == ".npz":
        _repack(rng, sample, mutant)
    elif sample.suffix == ".keras":
        keras_layouts.repack(rng, sample, mutant, _change)
    else:
        _change(rng, mutant)
    return mutant


def _change(rng: Random, path: Path | io.BytesIO) -> None:
    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 3))):
            with contextlib.suppress(
                KeyError, ValueError, OSError, TypeError
            ):  # an earlier change took away what it needs
                rng.choice(CHANGES)(rng, file, _names(file))


def parses(mutated: Path) -> bool:
    """Say whether h5py, or for an archive zipfile, opens it."""
    try:
        with zipfile.ZipFile(mutated) if mutated.suffix in (".npz", ".keras") else h5py.File(mutated, "r"):
            return True
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def use(folder: Path) -> None:
    """Put it into a network whose layers are named, or come in an order."""
    (path,) = folder.iterdir()
    name = "inceptionv3" if path.stat().st_size % 5 == 0 else "resnet50"
    fill(name, VARIABLES, read_tensors(name, path), where=path)


def command(folder: Path) -> list[str]:
    """Convert it."""
    (path,) = folder.iterdir()
    out = ["--out", str(folder / "out" / "weights.npz")]
    return ["scripts/convert_weights.py", "--model", "resnet50", "--keras-h5", str(path), *out]


def _names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names or ["x"]


def _attribute(rng: Random, file: Any, names: list[str]) -> None:
    holder = rng.choice([file, *(file[name] for name in names)])
    key = rng.choice([*holder.attrs, "layer_names", "layer_names0", "weight_names", "name"])
    holder.attrs[key] = rng.choice(
        (5, 2.5, "conv1_conv", b"conv1_conv", h5py.Empty("f"), np.zeros((2, 2)), np.array([b"\xff\xfe"]), True,
         np.array([word(rng).replace("\0", "0").encode()] * 3), np.array([b"conv1_conv"] * 500),
         np.array(["conv1_conv", "é"], dtype=h5py.string_dtype()), np.array([file.ref], dtype=h5py.ref_dtype),
         np.zeros(0), np.zeros(1, "V8"))
    )  # fmt: skip


def _take(rng: Random, file: Any, names: list[str]) -> str:
    """Remove something; return the name it had."""
    name = rng.choice(names)
    del file[name]
    return name


def _tensor(rng: Random, file: Any, names: list[str]) -> None:
    name = _take(rng, file, names)
    shape = rng.choice(
        ((), (0,), (4,), (1, 1, 4, 8), (3, 3, 3, 4), (2**40,), (2**16, 2**16), (2**20,) * 3, (1,) * 20, None)
    )
    if shape is None:
        file[name] = h5py.Empty("f")
        return
    dtype = rng.choice(("f", "f8", "f2", "i4", "u8", "S3", h5py.string_dtype(), h5py.vlen_dtype("f"), h5py.ref_dtype,
                        [("a", "f")], "c8", "?", h5py.enum_dtype({"a": 1})))  # fmt: skip
    chunks = tuple(min(side, 16) for side in shape) if shape and all(shape) and len(shape) < 5 else None
    filters = {"compression": rng.choice((None, "gzip", "lzf")), "shuffle": rng.random() < 0.3} if chunks else {}
    small = chunks or all(side < 100 for side in shape)
    file.create_dataset(name, shape if small else (4,), dtype, chunks=chunks, **filters)


def _numbers(rng: Random, file: Any, names: list[str]) -> None:
    found = file[rng.choice(names)]
    if isinstance(found, h5py.Dataset) and found.dtype.kind == "f" and found.size and found.size < 10_000:
        found[...] = rng.choice((np.nan, np.inf, 1e38, -1.0))


def _remove(rng: Random, file: Any, names: list[str]) -> None:
    _take(rng, file, names)


def _link(rng: Random, file: Any, names: list[str]) -> None:
    name = _take(rng, file, names)
    file[name] = rng.choice(
        (h5py.SoftLink("/"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink("../../sentinel", "/"),
         h5py.ExternalLink("/dev/zero", "/"), h5py.ExternalLink("legacy.h5", "/"), file["/"])
    )  # fmt: skip


def _elsewhere(rng: Random, file: Any, names: list[str]) -> None:
    name = _take(rng, file, names)
    if rng.random() < 0.5:
        file.create_dataset(name, (4,), "f", external=[("../../sentinel", 0, 16)])
    else:
        layout = h5py.VirtualLayout((4,), "f")
        layout[...] = h5py.VirtualSource("../../sentinel", "x", (4,))
        file.create_virtual_dataset(name, layout)


def _group(rng: Random, file: Any, names: list[str]) -> None:
    name = rng.choice(names)
    if rng.random() < 0.5:
        del file[name]
        file.create_group(name)
    elif isinstance(file[name], h5py.Group):
        extra = word(rng).replace("\0", "0").strip("./") or "x"
        file[name].require_group(rng.choice((extra[:200], "vars", "conv2d_5/vars", "layers", "model_weights")))


def _move(rng: Random, file: Any, names: list[str]) -> None:
    name, to = rng.choice(names), rng.choice(("model_weights", "layers/x", "moved", "conv2d_007"))
    if to not in file and not to.startswith(name):
        file.move(name, to)


CHANGES: tuple[Callable[[Random, Any, list[str]], None], ...] = (
    _attribute, _attribute, _tensor, _tensor, _numbers, _remove, _link, _elsewhere, _group, _move,
)  # fmt: skip


def _repack(rng: Random, sample: Path, mutant: Path) -> None:
    """Pack an npz anew with one member changed; the archive is valid."""
    with zipfile.ZipFile(sample) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(["about.npy", *members])
    array = np.load(sample)[name.removesuffix(".npy")]
    with zipfile.ZipFile(mutant, "w", zipfile.ZIP_DEFLATED) as archive:
        kind = rng.choice(("bytes", "header", "array", "json", "rename", "drop", "bomb"))
        if kind == "bytes":
            members[name] = damage(rng, members[name])
        elif kind == "header":
            shape = rng.choice(("(2**3,)", "(10**15,)", "(-1,)", "()", f"({'9' * 400},)", "[4]", "(" * 100, "(4, 'a')"))
            kind_of = rng.choice(("<f4", "|O", "<U9", "V0", word(rng)))
            text = f"{{'descr': {kind_of!r}, 'fortran_order': False, 'shape': {shape}}}"
            members[name] = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + bytes(16)
        elif kind == "rename":
            members[word(rng).replace("\0", "0") or "x"] = members.pop(name)
        elif kind == "drop":
            del members[name]
        elif kind == "bomb":
            members[name] += bytes(3 * 10**7)
        for key, content in members.items():
            if key != name or kind not in ("array", "json"):
                archive.writestr(key, content)
        if kind in ("array", "json"):
            text = damage_json(rng, str(np.load(sample)["about"])) if rng.random() < 0.8 else "[" * 10_000
            new = (
                np.array(text)
                if kind == "json"
                else rng.choice((array.astype("S"), array.reshape(-1)[:1], np.array(b"x")))
            )
            with archive.open("about.npy" if kind == "json" else name, "w") as member:
                np.lib.format.write_array(member, new, allow_pickle=False)
