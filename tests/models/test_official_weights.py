"""The official weights: fetched once, checked, kept, and what is said where they cannot be had."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from hamjax import load_pretrained
from hamjax.models.initialization import init_variables
from hamjax.models.pretrained import official_files as published
from hamjax.models.pretrained.official_files import PublishedFile, imagenet_class_names, published_weights
from hamjax.models.registry import create_model
from hamjax.runtime.errors import UserError
from tests.helpers.web_server import Server, serve

pytestmark = pytest.mark.usefixtures("quick_compiler")

Files = Callable[[str], Path]


@pytest.fixture
def server(keras_files: Files, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine with a ResNet50 file that is published there."""
    content = (keras_files("resnet50") / "notop.h5").read_bytes()
    with serve(content) as state:
        monkeypatch.setattr(published, "BASE_URL", state.url.rsplit("/", 1)[0])
        file = PublishedFile("resnet", "resnet50_notop.h5", hashlib.md5(content).hexdigest())
        monkeypatch.setitem(published.FILES, "resnet50", {False: file})
        monkeypatch.setattr("hamjax.runtime.download.time.sleep", lambda seconds: None)
        yield state


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hamjax" / "weights"


def test_official_weights_are_fetched_and_converted_once(server: Server, cache: Path, keras_files: Files) -> None:
    resnet = init_variables(create_model("resnet50"), image_size=96, seed=0)
    said: list[str] = []
    path = published_weights("resnet50", say=said.append)
    assert path.parent == cache
    assert any(str(path) in line for line in said)
    expected = load_pretrained("resnet50", resnet, keras_files("resnet50") / "notop.h5")
    jax.tree.map(np.testing.assert_array_equal, load_pretrained("resnet50", resnet, path), expected)
    assert published_weights("resnet50", say=said.append) == path
    assert len(server.requests) == 1
    path.write_bytes(path.read_bytes()[:1000])  # converted again from what was fetched
    published_weights("resnet50", say=said.append)
    jax.tree.map(np.testing.assert_array_equal, load_pretrained("resnet50", resnet, path), expected)
    assert len(server.requests) == 1


def test_a_cut_download_is_resumed(server: Server, cache: Path) -> None:
    server.cut_after = 30_000_000
    published_weights("resnet50", say=lambda line: None)
    ranges = [request.get("Range") for request in server.requests]
    assert ranges[:3] == [None, "bytes=30000000-", "bytes=60000000-"]


def test_other_bytes_than_published_are_refused_and_not_kept(server: Server, cache: Path) -> None:
    server.content = server.content[:-1] + bytes([server.content[-1] ^ 1])
    with pytest.raises(UserError, match=r"(?s)expected MD5.*--config.model.weights=FILE.*=random"):
        published_weights("resnet50", say=lambda line: None)
    assert [path.name for path in cache.iterdir() if path.suffix in (".h5", ".npz", ".part")] == []


def test_without_a_network_the_ways_out_are_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("hamjax.runtime.download.time.sleep", lambda seconds: None)
    with pytest.raises(UserError) as caught:
        published_weights("densenet201", say=lambda line: None)
    file = published.FILES["densenet201"][False]
    for word in (file.name, file.url, file.md5, "--config.model.weights=FILE", "--config.model.weights=random"):
        assert word in str(caught.value)


def test_addresses_and_hashes_are_keras() -> None:
    from keras.src.applications import densenet, imagenet_utils, inception_v3, resnet

    tops = published.FILES
    assert tuple(tops["resnet50"][top].md5 for top in (True, False)) == resnet.WEIGHTS_HASHES["resnet50"]
    assert tops["resnet50"][False].url.startswith(resnet.BASE_WEIGHTS_PATH)
    assert tops["inceptionv3"][True].url == inception_v3.WEIGHTS_PATH
    assert tops["inceptionv3"][False].url == inception_v3.WEIGHTS_PATH_NO_TOP
    assert tops["densenet201"][True].url == densenet.DENSENET201_WEIGHT_PATH
    assert tops["densenet201"][False].url == densenet.DENSENET201_WEIGHT_PATH_NO_TOP
    for module, name in ((inception_v3, "inceptionv3"), (densenet, "densenet201")):
        text = Path(str(module.__file__)).read_text()
        assert all(file.md5 in text for file in tops[name].values())
    assert imagenet_utils.CLASS_INDEX_PATH == published.CLASS_INDEX_URL


def test_class_names_are_read_from_keras_index(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({str(i): [f"n{i:08}", f"thing_{i}"] for i in range(1000)}))
    assert imagenet_class_names(path)[207] == "thing_207"
    path.write_text("{}")
    with pytest.raises(UserError, match="expected Keras's imagenet_class_index.json"):
        imagenet_class_names(path)
