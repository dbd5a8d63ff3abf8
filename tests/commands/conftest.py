"""A served run for the tests of `hamjax serve`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.served import encoded, serving, write_reported_run
from tests.helpers.untrained_run import varied_images


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("served") / "run"
    write_reported_run(workdir)
    return workdir


@pytest.fixture(scope="module")
def url(run: Path) -> Iterator[str]:
    with serving(run) as address:
        yield address


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for i, pixels in enumerate(varied_images(5, 48)):
        (folder / f"lesion_{i}.png").write_bytes(encoded(pixels))
    return sorted(folder.iterdir())
