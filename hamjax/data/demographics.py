"""Whom the images of a partition show."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from hamjax.data.lesions import count_lesions

COUNTED = ("sex", "localization", "dx_type", "dataset")


def demographics(lesions: np.ndarray, known: np.ndarray, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Describe one partition, image by image: HAM10000 has no patient ids.

    Args:
        lesions: [N] int or str.
        known: [N] bool, whether it is known which lesion it is.
        columns: `age` [N] in years with NaN, and the text columns `COUNTED`.

    Returns:
        `images`, `lesions` (None where not all are known), `age` (`mean` and the sample's `sd` in years, None of too
        few; `unknown` images) and for each text column its values with their images, the most frequent first.
    """
    age = columns["age"].astype(np.float64)
    ages = age[~np.isnan(age)]
    return {
        "images": len(lesions),
        "lesions": count_lesions(lesions, known),
        "age": {
            "mean": float(ages.mean()) if len(ages) else None,
            "sd": float(ages.std(ddof=1)) if len(ages) > 1 else None,
            "unknown": len(age) - len(ages),
        },
        **{name: dict(Counter(sorted(columns[name].tolist())).most_common()) for name in COUNTED},
    }
