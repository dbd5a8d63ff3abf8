"""HAM10000 as a tensorflow-datasets builder: encoded images and every column.

It writes `array_record` files and needs no TensorFlow. Once written, anyone reads
them with `tfds.builder_from_directory(DIR)` or
`tfds.data_source("ham10000", data_dir=DIR, split="train")`.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format, message

from hamjax.data.classes import CLASSES
from hamjax.data.metadata import RECORDS_VERSION, TEXT_COLUMNS
from hamjax.data.sources.source import Images

CITATION = """@article{tschandl2018ham10000,
  title={The HAM10000 dataset, a large collection of multi-source dermatoscopic images of
         common pigmented skin lesions},
  author={Tschandl, Philipp and Rosendahl, Cliff and Kittler, Harald},
  journal={Scientific Data}, volume={5}, pages={180161}, year={2018},
  doi={10.1038/sdata.2018.161}
}"""


# What reading damaged records raises: RuntimeError in array_record, the last three where features.json names other
# classes, and protobuf's own.
DAMAGE = (
    OSError, RuntimeError, ValueError, LookupError, json_format.Error, message.Error, TypeError, AttributeError,
    ImportError,
)  # fmt: skip


class Ham10000(tfds.core.GeneratorBasedBuilder):
    """10,015 dermatoscopic images of pigmented lesions in seven classes.

    The single TFDS split `train` is the whole published training set; hamjax draws its
    own partitions from it by lesion. Licence of the data: CC BY-NC 4.0.
    """

    name = "ham10000"
    VERSION = tfds.core.Version(RECORDS_VERSION)
    RELEASE_NOTES: ClassVar = {RECORDS_VERSION: "First release."}

    def __init__(
        self, *, source: Images | None = None, details: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self._source = source
        self._details = dict(details or {})
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=list(CLASSES)),
                    "age": tfds.features.Scalar(np.float32),
                    **{name: tfds.features.Text() for name in TEXT_COLUMNS},
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://doi.org/10.7910/DVN/DBW86T",
            citation=CITATION,
            metadata=tfds.core.MetadataDict(self._details),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:  # no `pipeline`: it asks for Beam
        del dl_manager  # the files are local and verified by now
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self._source is None:
            raise ValueError("Ham10000 needs a source to be built; `hamjax prepare` gives it one.")
        for row in self._source.metadata.rows():
            # A file object is stored as it is; an array would need TensorFlow to encode.
            image = self._source.read(row["image_id"])
            columns = {name: row[name] for name in (*TEXT_COLUMNS, "age", "label")}
            yield row["image_id"], {"image": io.BytesIO(image), **columns}


class Synthetic(Ham10000):
    """Drawn, not photographed: the demonstration data set of hamjax, laid out as HAM10000."""

    name = "synthetic"


BUILDERS = {"ham10000": Ham10000, "synthetic": Synthetic}


def write_tfds(name: str, source: Images, details: Mapping[str, Any], folder: Path) -> Path:
    """Write a source as TFDS records below `folder`.

    Args:
        name: of the builder, `ham10000` or `synthetic`.
        source: every image of its table can be read.
        details: stored beside the records in `metadata.json`.
        folder: TFDS's `data_dir`.

    Returns:
        The folder that holds the records.
    """
    builder = BUILDERS[name](source=source, details=details, data_dir=folder)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # it announces a download of unknown size
        builder.download_and_prepare()
    return Path(builder.data_path)


def read_tfds(folder: Path) -> Any:
    """Open written records for random access to examples whose `image` is still encoded."""
    decoders = {"image": tfds.decode.SkipDecoding()}
    builder: Any = tfds.builder_from_directory(folder)
    return builder.as_data_source(split="train", decoders=decoders)
