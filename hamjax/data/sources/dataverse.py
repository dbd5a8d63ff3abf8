"""The published files of HAM10000: Harvard Dataverse, doi:10.7910/DVN/DBW86T, version 4.0."""

import dataclasses
from pathlib import Path

from hamjax.runtime.download import fetch
from hamjax.runtime.say import Say

DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile/"
LICENCE = (
    "HAM10000: Tschandl, Rosendahl, Kittler, Scientific Data 5, 180161 (2018), "
    "doi:10.7910/DVN/DBW86T, CC BY-NC 4.0: attribution, no commercial use."
)


@dataclasses.dataclass(frozen=True)
class OfficialFile:
    """A file of the publication: its name, its place on Dataverse, its size and MD5."""

    name: str
    datafile: str
    size: int
    md5: str


FILES = (
    # Without format=original Dataverse sends a tab-separated rendering with another hash.
    OfficialFile("HAM10000_metadata.csv", "4338392?format=original", 690_218, "8f85fb1aa29d80a2797247e434deb79d"),
    OfficialFile("HAM10000_images_part_1.zip", "3172585", 1_366_522_108, "4639bfa73ab251610530a97c898e6e46"),
    OfficialFile("HAM10000_images_part_2.zip", "3172584", 1_403_566_547, "da43d6cc50f6613013be07e8986b384b"),
)


def download(folder: Path, *, mirror: str = "", say: Say = print) -> Path:
    """Fetch all files into a folder that then serves as a source.

    Args:
        folder: where they go.
        mirror: an address that has them under their names, instead of Dataverse. Sizes
            and hashes are checked all the same.
        say: takes a line for the user.

    Returns:
        The folder.

    Raises:
        UserError: see `hamjax.runtime.download.fetch`.
    """
    say(LICENCE)
    for file in FILES:
        url = f"{mirror.rstrip('/')}/{file.name}" if mirror else DATAVERSE + file.datafile
        fetch(url, folder / file.name, md5=file.md5, size=file.size, say=say)
    return folder
