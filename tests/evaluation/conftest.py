"""An external set of drawn images."""

from pathlib import Path

import pytest

from tests.helpers.external_set import write_images

Labels = list[tuple[str, str]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Labels]:
    folder = tmp_path_factory.mktemp("external")
    return folder, write_images(folder)
