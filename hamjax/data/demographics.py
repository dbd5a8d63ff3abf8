"""Whom the images of a partition show."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

COUNTED = ("sex", "localization", "dx_type", "dataset")


def demographics(lesions: np.ndarray, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Describe one partition, image by image: HAM10000 has no patient ids.

    Args:
        lesions: [N] int or str.
        columns: `age` [N] in years with NaN, and the text columns `COUNTED`.

    Returns:
        `images, lesions, age` (`mean` and the sample's `sd` in years, None of too few; `unknown` images) and for
        each text column its values with their images, the most frequent first.
    """
    age = columns["age"].astype(np.float64)
    known = age[~np.isnan(age)]
    return {
        "images": len(lesions),
        "lesions": len(np.unique(lesions)),
        "age": {
            "mean": float(known.mean()) if len(known) else None,
            "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
            "unknown": len(age) - len(known),
        },
        **{name: dict(Counter(sorted(columns[name].tolist())).most_common()) for name in COUNTED},
    }
